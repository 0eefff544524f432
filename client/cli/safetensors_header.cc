#include "client/cli/safetensors_header.h"

#include <fmt/format.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "client/cli/diagnosis.h"

namespace batchnorm::cli {
namespace {

using nlohmann::json;

constexpr std::uint64_t kMostSize =
    static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());

// Takes the events of the parser one by one. The grammar has no recursion, so
// one state says what may come next; anything else ends the parse, which keeps
// memory within the size of the text whatever its nesting.
class HeaderReader : public nlohmann::json_sax<json> {
 public:
  SafetensorsHeader TakeHeader() {
    return {std::move(entries_), std::move(metadata_)};
  }
  const std::string& problem() const { return problem_; }

  bool null() override { return Refuse("null"); }
  bool boolean(bool) override { return Refuse("a boolean"); }
  bool number_integer(number_integer_t) override {
    return Refuse("a negative number");
  }
  bool number_float(number_float_t, const string_t&) override {
    return Refuse("a fraction");
  }
  bool binary(binary_t&) override { return Refuse("binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (value > kMostSize) return Refuse("a number above 2^63");
    if (state_ == State::kShape) {
      entry().shape.push_back(static_cast<std::int64_t>(value));
      return true;
    }
    if (state_ != State::kOffsets || offsets_ == 2) return Refuse("a number");
    (offsets_++ == 0 ? entry().begin : entry().end) = value;
    return true;
  }

  bool string(string_t& value) override {
    if (state_ == State::kMetadataValue) return TakeMetadata(value);
    if (state_ != State::kDtype) return Refuse("a string");
    entry().dtype = value;
    return Go(State::kEntry);
  }

  bool start_object(std::size_t) override {
    if (state_ == State::kStart) return Go(State::kNames);
    if (state_ == State::kBeforeEntry) return Go(State::kEntry);
    if (state_ == State::kBeforeMetadata) return Go(State::kMetadata);
    return Refuse("an object");
  }

  bool key(string_t& name) override {
    if (!seen_[state_ == State::kNames ? 0 : 1].insert(name).second) {
      problem_ = fmt::format("key '{}' stands twice", name);
      return false;
    }
    if (state_ == State::kNames) return BeginName(name);
    if (state_ == State::kMetadata) return BeginMetadata(name);
    return BeginField(name);
  }

  bool end_object() override {
    if (state_ == State::kNames) return Go(State::kEnd);
    if (state_ == State::kEntry && seen_[1].size() != 3) {
      problem_ = fmt::format(
          "tensor '{}' lacks one of dtype, shape, data_offsets", entry().name);
      return false;
    }
    seen_[1].clear();
    return Go(State::kNames);
  }

  bool start_array(std::size_t) override {
    if (state_ == State::kBeforeShape) return Go(State::kShape);
    if (state_ != State::kBeforeOffsets) return Refuse("an array");
    offsets_ = 0;
    return Go(State::kOffsets);
  }

  bool end_array() override {
    if (state_ == State::kOffsets && offsets_ != 2) {
      return Refuse("less than two data_offsets");
    }
    return Go(State::kEntry);
  }

  bool parse_error(std::size_t position, const std::string&,
                   const json::exception&) override {
    problem_ = fmt::format("the JSON is broken at byte {}", position);
    return false;
  }

 private:
  enum class State : std::uint8_t {
    kStart,
    kNames,
    kBeforeMetadata,
    kMetadata,
    kMetadataValue,
    kBeforeEntry,
    kEntry,
    kDtype,
    kBeforeShape,
    kShape,
    kBeforeOffsets,
    kOffsets,
    kEnd,
  };

  SafetensorsEntry& entry() { return entries_.back(); }

  bool Go(State state) {
    state_ = state;
    return true;
  }

  bool Refuse(std::string_view what) {
    problem_ = fmt::format("{} where none belongs", what);
    if (!entries_.empty()) {
      problem_ += fmt::format(", at tensor '{}'", entry().name);
    }
    return false;
  }

  bool BeginName(const std::string& name) {
    if (name == "__metadata__") return Go(State::kBeforeMetadata);
    entries_.emplace_back().name = name;
    return Go(State::kBeforeEntry);
  }

  bool BeginMetadata(const std::string& key) {
    metadata_key_ = key;
    return Go(State::kMetadataValue);
  }

  bool TakeMetadata(const std::string& value) {
    metadata_[metadata_key_] = value;
    return Go(State::kMetadata);
  }

  bool BeginField(const std::string& name) {
    if (name == "dtype") return Go(State::kDtype);
    if (name == "shape") return Go(State::kBeforeShape);
    if (name == "data_offsets") return Go(State::kBeforeOffsets);
    problem_ =
        fmt::format("unknown key '{}' at tensor '{}'", name, entry().name);
    return false;
  }

  State state_ = State::kStart;
  std::set<std::string> seen_[2];  // keys of the header; of the object within
  int offsets_ = 0;
  std::string problem_;
  std::vector<SafetensorsEntry> entries_;
  std::string metadata_key_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace

absl::Status MalformedSafetensors(std::string_view what) {
  return ToStatus({fmt::format("not a sound safetensors file: {}", what),
                   "a header reads {\"NAME\": {\"dtype\": \"F32\", \"shape\": "
                   "[2, 3], \"data_offsets\": [0, 24]}}",
                   "copy it again, or write it again with safetensors.save"});
}

absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(
    std::string_view text) {
  HeaderReader reader;
  if (!json::sax_parse(text.begin(), text.end(), &reader)) {
    return MalformedSafetensors(reader.problem());
  }
  return reader.TakeHeader();
}

}  // namespace batchnorm::cli
