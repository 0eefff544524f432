#include "server/session/session_name.h"

#include <set>

#include "server/session/random.h"
#include "tests/matchers.h"

namespace batchnorm::session {
namespace {

using namespace ::batchnorm::testing;

TEST(SessionNameTest, SegmentsJoinedBySlashesAreNames) {
  for (const std::string name :
       {"a", "_", "-", "0", "resnet50/layer4.1/bn2", "A-b_c.d/9",
        "0123456789abcdef0123456789abcdef"}) {
    EXPECT_THAT(CheckSessionName(name), IsOk()) << name;
  }
  EXPECT_THAT(CheckSessionName(std::string(128, 'n')), IsOk());
}

TEST(SessionNameTest, EverythingElseIsRefused) {
  const std::string names[] = {"",
                               ".",
                               "..",
                               "../a",
                               "a/..",
                               "a/../b",
                               "/",
                               "/a",
                               "a/",
                               "a//b",
                               ".hidden",
                               "a/.b",
                               "a b",
                               "a\nb",
                               "a\\b",
                               "a:b",
                               "a%2e",
                               "caf\xc3\xa9",
                               "a\x7f",
                               "a\x80",
                               "<script>",
                               "a\"b\"",
                               "a\tb",
                               "a?b",
                               std::string("a\0b", 3),
                               std::string(129, 'n'),
                               std::string(4096, 'n')};
  for (const std::string& name : names) {
    const absl::Status status = CheckSessionName(name);
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument)) << name;
    EXPECT_THAT(status, HasReason("BAD_NAME"));
    EXPECT_THAT(status, HasField("name"));
  }
}

TEST(SessionNameTest, ErrorTextsEscapeAndCutWhatCame) {
  EXPECT_THAT(CheckSessionName("a\nb"), HasText("got \"a\\nb\""));
  const absl::Status status =
      SessionNotFound(std::string(4096, '\x01'), "name");
  EXPECT_LT(status.message().size(), 800u);
  for (const char c : status.message()) EXPECT_TRUE(c >= ' ' && c <= '~');
}

TEST(SessionNameTest, MadeNamesAre128BitsInHexadecimalAndDiffer) {
  std::set<std::string> names;
  for (int i = 0; i < 1000; ++i) {
    const std::string name = RandomHex();
    EXPECT_EQ(name.size(), 32u);
    EXPECT_EQ(name.find_first_not_of("0123456789abcdef"), std::string::npos);
    EXPECT_THAT(CheckSessionName(name), IsOk());
    names.insert(name);
  }
  EXPECT_EQ(names.size(), 1000u);
}

}  // namespace
}  // namespace batchnorm::session
