#include "server/access/tokens.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <string>

#include "absl/random/random.h"

namespace batchnorm::access {
namespace {

class TokensTest : public testing::Test {
 protected:
  ~TokensTest() override { std::remove(path_.c_str()); }

  absl::StatusOr<Tokens> Read(const std::string& text) {
    std::ofstream(path_) << text;
    return Tokens::Read(path_);
  }

  const std::string path_ =
      testing::TempDir() + "/tokens_test." + std::to_string(getpid());
};

TEST_F(TokensTest, EachTokenHasItsOwner) {
  const auto tokens =
      Read("a 0123456789abcdef\nb fedcba9876543210 2099-01-01T00:00:00Z\n");
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  EXPECT_EQ(tokens->size(), 2U);
  EXPECT_EQ(tokens->Find("0123456789abcdef"), Tokens::Owner{.tenant = "a"});
  EXPECT_EQ(tokens->Find("fedcba9876543210")->tenant, "b");
  EXPECT_EQ(tokens->Find("fedcba9876543210")->expiry,
            absl::FromCivil(absl::CivilDay(2099, 1, 1), absl::UTCTimeZone()));
}

TEST_F(TokensTest, NoOtherTokenHasOne) {
  const auto tokens = Read("a 0123456789abcdef\n");
  ASSERT_TRUE(tokens.ok());
  std::string token = "0123456789abcdef";
  for (char& c : token) {
    const char right = c;
    for (int other = 0; other < 256; ++other) {
      c = static_cast<char>(other);
      EXPECT_EQ(tokens->Find(token).has_value(), c == right);
    }
    c = right;
  }
  EXPECT_FALSE(tokens->Find("").has_value());
  EXPECT_FALSE(tokens->Find("0123456789abcde").has_value());
}

TEST_F(TokensTest, AnyTextIsReadOrRefusedWithoutShowingIt) {
  absl::BitGen random;
  for (int round = 0; round < 500; ++round) {
    std::string text;
    for (int i = absl::Uniform(random, 0, 60); i > 0; --i) {
      text += "ab0 \t\n#-\xff"[absl::Uniform(random, 0, 9)];
    }
    const auto tokens = Read(text);
    if (tokens.ok()) continue;
    EXPECT_TRUE(tokens.status().message().find(path_) == 0) << tokens.status();
  }
}

TEST(TenantNameTest, IsOneSegmentOfPlainLetters) {
  for (const char* const good : {"a", "vision-2", "A.b_c"}) {
    EXPECT_TRUE(IsTenantName(good)) << good;
  }
  EXPECT_TRUE(IsTenantName(std::string(63, 'x')));
  for (const std::string& bad :
       {std::string(), std::string(64, 'x'), std::string("a/b"),
        std::string("~a"), std::string("a b"), std::string("a\0b", 3),
        std::string("ä")}) {
    EXPECT_FALSE(IsTenantName(bad)) << bad;
  }
}

}  // namespace
}  // namespace batchnorm::access
