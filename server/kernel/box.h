// Rectangles of a tensor, which is how the vector loops see every layout.
//
// A row-major tensor whose axes alternate between reduced and channel axes is a
// set of matrices: rows are the last but one group of reduced axes, columns are
// (channel, inner) with inner the last group of reduced axes, or 1. NCHW has
// N rows of C * HW columns, NHWC and N x C have rows of C columns. Layouts with
// more groups are several such matrices. Thread-safe.
#ifndef BATCHNORMD_SERVER_KERNEL_BOX_H_
#define BATCHNORMD_SERVER_KERNEL_BOX_H_

#include <algorithm>
#include <cstdint>
#include <numeric>

#include "server/kernel/channel_layout.h"

namespace batchnorm::kernel {

struct Box {
  std::int64_t offset;  // of the first element, in elements
  std::int64_t rows;
  std::int64_t row_stride;  // in elements, at least `columns`
  std::int64_t columns;
  std::int64_t inner;         // columns a channel
  std::int64_t first_column;  // of the whole row: column j of the box belongs
  std::int64_t channel;       // to channel + (first_column + j) / inner
  // Where several rows are one: the columns of each, after which the channels
  // begin again. Else 0.
  std::int64_t period = 0;

  std::int64_t ChannelOf(std::int64_t column) const {
    const std::int64_t at = first_column + column;
    return channel + (period == 0 ? at : at % period) / inner;
  }
  std::int64_t first_channel() const { return ChannelOf(0); }
  std::int64_t end_channel() const {
    return ChannelOf((period == 0 ? columns : period) - 1) + 1;
  }

  Box Rows(std::int64_t first, std::int64_t count) const {
    Box part = *this;
    part.offset += first * row_stride;
    part.rows = count;
    return part;
  }
  Box Columns(std::int64_t first, std::int64_t count) const {
    Box part = *this;
    part.offset += first;
    part.first_column += first;
    part.columns = count;
    return part;
  }

  // Channels follow each other, one a column.
  bool HasChannelAColumn() const { return inner == 1 && period == 0; }

  // Rows that follow each other in memory, from the first column on, are one
  // long row as well. Of rows shorter than vectors that is the better view.
  bool CanFold() const {
    return row_stride == columns && first_column == 0 && period == 0;
  }
  // `fold` rows as one, without the rows that are left over.
  // REQUIRES: CanFold().
  Box Folded(std::int64_t fold) const {
    Box folded = *this;
    folded.rows = rows / fold;
    folded.columns = columns * fold;
    folded.row_stride = row_stride * fold;
    folded.period = columns;
    return folded;
  }
};

// How many rows to fold for rows of up to `most_columns`, whole lines each
// where possible, and so many of them that a row's own cost does not count. 1:
// none.
inline std::int64_t FoldFor(const Box& box, std::int64_t most_columns) {
  constexpr std::int64_t kLine = 16;
  constexpr std::int64_t kLeastRows = 512;
  if (!box.CanFold()) return 1;
  const std::int64_t most =
      std::min(most_columns / box.columns, box.rows / kLeastRows);
  const std::int64_t whole_lines = kLine / std::gcd(box.columns, kLine);
  const std::int64_t fold = most / whole_lines * whole_lines;
  return std::max<std::int64_t>(fold > 0 ? fold : most, 1);
}

// Calls visit(box) for folded rows, and for those that are left over.
template <typename Visit>
void ForEachFolded(const Box& box, std::int64_t fold, Visit&& visit) {
  if (fold <= 1) return visit(box);
  visit(box.Folded(fold));
  const std::int64_t left = box.rows % fold;
  if (left > 0) visit(box.Rows(box.rows - left, left));
}

// The columns of a box that belong to one channel.
struct ChannelColumns {
  std::int64_t channel;
  std::int64_t column;  // the first one, counted in the box
  std::int64_t columns;
};

// The channels of a box, those of folded rows once a row:
//
//   for (const auto& [channel, column, columns] : EachChannel(box)) ...
//
// A range and not a function that is given one: the vector code is compiled for
// several processors, and a lambda of it would not be inlined into a function
// that is compiled for any.
class EachChannel {
 public:
  explicit EachChannel(const Box& box) : box_(box) {}

  struct End {};
  class Iterator {
   public:
    explicit Iterator(const Box& box)
        : first_{box.first_channel(), 0,
                 box.inner - box.first_column % box.inner},
          inner_(box.inner),
          period_(box.period == 0 ? box.columns : box.period),
          columns_(box.columns) {
      BeginPeriod(0);
    }

    bool operator!=(End) const { return at_.column < columns_; }
    const ChannelColumns& operator*() const { return at_; }
    void operator++() {
      const std::int64_t column = at_.column + at_.columns;
      if (column == end_) return BeginPeriod(column);
      at_ = {at_.channel + 1, column, std::min(inner_, end_ - column)};
    }

   private:
    void BeginPeriod(std::int64_t column) {
      end_ = column + period_;
      at_ = {first_.channel, column, std::min(first_.columns, period_)};
    }

    const ChannelColumns first_;
    const std::int64_t inner_;
    const std::int64_t period_;
    const std::int64_t columns_;
    std::int64_t end_ = 0;  // of the period
    ChannelColumns at_ = {};
  };

  Iterator begin() const { return Iterator(box_); }
  End end() const { return {}; }

 private:
  const Box box_;
};

// Calls visit(box) for boxes that make up the elements [begin, end), in memory
// order. Offsets count from the beginning of the tensor.
template <typename Visit>
void ForEachBox(const ChannelLayout& layout, std::int64_t begin,
                std::int64_t end, Visit&& visit) {
  for (std::int64_t at = begin; at < end;) {
    const ChannelLayout::Matrix matrix = layout.MatrixAt(at);
    const std::int64_t in_matrix = at - matrix.offset;
    const std::int64_t column = in_matrix % matrix.columns;
    const std::int64_t left =
        std::min(end, matrix.offset + matrix.rows * matrix.columns) - at;
    const std::int64_t whole_rows = column == 0 ? left / matrix.columns : 0;
    const std::int64_t rows = std::max<std::int64_t>(whole_rows, 1);
    const std::int64_t columns = whole_rows > 0
                                     ? matrix.columns
                                     : std::min(matrix.columns - column, left);
    visit(Box{at, rows, matrix.columns, columns, matrix.inner, column,
              matrix.channel});
    at += rows * columns;
  }
}

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_SERVER_KERNEL_BOX_H_
