// Documentation cannot rot: every piece of code that a header or the README
// quotes is compiled text, and every example runs against a real server.
//
// A quote is announced by "From FILE [TAG]:" and stands, indented by four,
// below; the file has it between "// [TAG]" and "// [END TAG]".
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <regex>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/rpc/server.h"
#include "tests/unit/client/status_matchers.h"

namespace batchnorm::client {
namespace {

namespace fs = std::filesystem;
using Lines = std::vector<std::string>;

fs::path Root() { return BN_SOURCE_DIR; }

Lines ReadLines(const fs::path& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file.is_open()) << path;
  Lines lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

std::string Trimmed(const std::string& line) {
  const std::size_t begin = line.find_first_not_of(' ');
  return begin == std::string::npos ? "" : line.substr(begin);
}

// Without the indentation of the first line.
Lines Dedented(const Lines& lines) {
  Lines dedented;
  if (lines.empty()) return dedented;
  const std::size_t indent = lines[0].find_first_not_of(' ');
  for (const std::string& line : lines) {
    dedented.push_back(line.size() < indent ? "" : line.substr(indent));
  }
  return dedented;
}

Lines TaggedLines(const fs::path& path, const std::string& tag) {
  Lines lines;
  bool inside = false;
  for (const std::string& line : ReadLines(path)) {
    if (Trimmed(line) == "// [END " + tag + "]") break;
    if (inside) lines.push_back(line);
    inside |= Trimmed(line) == "// [" + tag + "]";
  }
  return Dedented(lines);
}

struct Quote {
  std::string file;
  std::string tag;
  Lines text;
};

void TrimBlankLines(Lines& lines) {
  while (!lines.empty() && lines.front().empty()) lines.erase(lines.begin());
  while (!lines.empty() && lines.back().empty()) lines.pop_back();
}

// `prefix` begins every line of the document, as "// " in a header.
std::vector<Quote> QuotesIn(const fs::path& document,
                            const std::string& prefix) {
  const std::regex announcement(R"(From (\S+) \[(\w+)\]:$)");
  const std::string code = prefix + "    ";
  const std::string blank = prefix.empty() ? "" : "//";
  std::vector<Quote> quotes;
  bool quoting = false;
  for (const std::string& line : ReadLines(document)) {
    std::smatch match;
    if (std::regex_search(line, match, announcement)) {
      quotes.push_back({match[1], match[2], {}});
      quoting = true;
    } else if (quoting && line.rfind(code, 0) == 0) {
      quotes.back().text.push_back(line.substr(code.size()));
    } else if (quoting && line == blank) {
      quotes.back().text.emplace_back();
    } else {
      quoting = false;
    }
  }
  for (Quote& quote : quotes) TrimBlankLines(quote.text);
  return quotes;
}

class QuotesTest : public ::testing::TestWithParam<const char*> {};

TEST_P(QuotesTest, AreTheCompiledText) {
  const bool is_header = std::string(GetParam()).ends_with(".h");
  const auto quotes = QuotesIn(Root() / GetParam(), is_header ? "// " : "");
  EXPECT_FALSE(quotes.empty());
  for (const Quote& quote : quotes) {
    EXPECT_FALSE(quote.text.empty());
    EXPECT_EQ(quote.text, TaggedLines(Root() / quote.file, quote.tag))
        << GetParam() << " quotes " << quote.file << " [" << quote.tag << "]";
  }
}

INSTANTIATE_TEST_SUITE_P(Documents, QuotesTest,
                         ::testing::Values("client/client.h", "client/layer.h",
                                           "client/mock_connection.h",
                                           "client/sync_layer.h",
                                           "client/README.md", "README.md"));

// Runs a program that is built beside this test; returns what it printed.
std::string OutputOf(const std::string& program, const std::string& argument) {
  const fs::path binary =
      fs::read_symlink("/proc/self/exe").parent_path() / program;
  const std::string command =
      absl::StrCat("'", binary.string(), "' '", argument, "' 2>&1");
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "r"),
                                                   pclose);
  std::string output;
  std::array<char, 256> buffer;
  while (fgets(buffer.data(), buffer.size(), pipe.get()) != nullptr) {
    output += buffer.data();
  }
  return output;
}

class ExampleTest : public ::testing::Test {
 protected:
  std::string Run(const std::string& program) {
    auto server = rpc::Server::Start(
        {.listen = {"localhost:0"}, .threads = 1, .reflection = false});
    EXPECT_THAT(server, IsOk());
    return OutputOf(program, (*server)->addresses()[0]);
  }
};

TEST_F(ExampleTest, EvaluatePrintsWhatItsCommentsSay) {
  EXPECT_EQ(Run("example_evaluate"),
            "mean: 2 20\nvar: 1 100\ny: -2 -1 2 1\ndgamma: -1 0\n");
}

TEST_F(ExampleTest, SyncNormalizesEachShardByTheWholeBatch) {
  // 0 to 5: mean 2.5, variance 35/12.
  EXPECT_EQ(Run("example_sync"),
            "rank 0: -1.46385\nrank 1: -0.878309 -0.29277\n"
            "rank 2: 0.29277 0.878309 1.46385\n");
}

TEST_F(ExampleTest, TrainFindsGammaTwoAndBetaOne) {
  const std::string output = Run("example_train");
  double gamma = 0;
  double beta = 0;
  int step = 0;
  ASSERT_EQ(std::sscanf(output.c_str(), "gamma %lf beta %lf after step %d",
                        &gamma, &beta, &step),
            3)
      << output;
  EXPECT_NEAR(gamma, 2, 0.2);
  EXPECT_NEAR(beta, 1, 0.2);
  EXPECT_EQ(step, 60);
}

}  // namespace
}  // namespace batchnorm::client
