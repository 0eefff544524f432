// No bytes crash a parser, and none makes it allocate far beyond their number:
// each is run on random bytes and on sound files with random changes. Sanitizer
// builds run the same tests.
#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "client/cli/csv.h"
#include "client/cli/npy.h"
#include "client/cli/npz.h"
#include "client/cli/safetensors.h"
#include "proto/wire/tensor_values.h"

namespace batchnorm::cli {
namespace {

// Whatever is accepted must hold together.
void ExpectSound(const absl::StatusOr<Tensor>& tensor) {
  EXPECT_TRUE(!tensor.ok() || IsComplete(*tensor));
}

void ExpectSound(const absl::StatusOr<Archive>& archive) {
  if (!archive.ok()) return;
  for (const NamedTensor& named : archive->tensors) {
    EXPECT_TRUE(IsComplete(named.tensor)) << named.name;
  }
}

void ParseAll(const std::string& bytes) {
  ExpectSound(ParseNpy(bytes));
  ExpectSound(ParseNpy(bytes, Dtype::kBF16));
  ExpectSound(ParseNpz(bytes));
  ExpectSound(ParseSafetensors(bytes));
  ExpectSound(ParseCsv(bytes, Dtype::kF16));
}

std::vector<std::string> SoundFiles() {
  const std::vector<NamedTensor> tensors = {
      {"x", MakeTensor(std::vector<float>{1, 2, 3, 4, 5, 6}, {2, 3})},
      {"mean", MakeTensor(std::vector<double>{0.5, 0.25}, {2})}};
  return {EncodeNpy(tensors[0].tensor).value(), EncodeNpz(tensors).value(),
          EncodeSafetensors(tensors).value(),
          EncodeCsv(tensors[0].tensor).value()};
}

class RandomBytesTest : public ::testing::Test {
 protected:
  std::size_t Below(std::size_t bound) {
    return std::uniform_int_distribution<std::size_t>(0, bound - 1)(random_);
  }
  char Byte() { return static_cast<char>(Below(256)); }

  // One change: a byte set, removed, or repeated; or a run moved elsewhere.
  void Change(std::string& bytes) {
    if (bytes.empty()) return;
    const std::size_t at = Below(bytes.size());
    switch (Below(4)) {
      case 0:
        bytes[at] = Byte();
        return;
      case 1:
        bytes.erase(at, 1 + Below(4));
        return;
      case 2:
        bytes.insert(at, 1 + Below(4), bytes[at]);
        return;
      default:
        bytes.insert(Below(bytes.size()), bytes.substr(at, 1 + Below(16)));
    }
  }

  std::mt19937_64 random_{20240501};
};

TEST_F(RandomBytesTest, PureNoiseIsSurvived) {
  for (int trial = 0; trial < 3000; ++trial) {
    std::string bytes(Below(300), '\0');
    for (char& c : bytes) c = Byte();
    ParseAll(bytes);
  }
}

TEST_F(RandomBytesTest, NoiseBehindASoundBeginningIsSurvived) {
  for (const std::string& file : SoundFiles()) {
    for (int trial = 0; trial < 1000; ++trial) {
      std::string bytes = file.substr(0, Below(file.size()));
      for (std::size_t i = Below(50); i > 0; --i) bytes += Byte();
      ParseAll(bytes);
    }
  }
}

TEST_F(RandomBytesTest, ChangedFilesAreSurvived) {
  for (const std::string& file : SoundFiles()) {
    for (int trial = 0; trial < 4000; ++trial) {
      std::string bytes = file;
      for (std::size_t i = 1 + Below(4); i > 0; --i) Change(bytes);
      ParseAll(bytes);
    }
  }
}

}  // namespace
}  // namespace batchnorm::cli
