#include "server/session/shared_reply.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace batchnorm::session {
namespace {

TEST(SharedReplyTest, IsMadeOnceForAllWhoAskForIt) {
  SharedReply shared;
  int made = 0;
  const auto make = [&] { return "reply " + std::to_string(++made); };
  const auto first = shared.GetOrMake<std::string>(make);
  const auto second = shared.GetOrMake<std::string>(make);
  EXPECT_EQ(*first, "reply 1");
  EXPECT_EQ(second, first);
  EXPECT_EQ(made, 1);
}

TEST(SharedReplyTest, IsKeptForThoseWhoComeWhenTheFirstHasLetItGo) {
  SharedReply shared;
  int made = 0;
  const auto make = [&] { return "reply " + std::to_string(++made); };
  const std::weak_ptr<const std::string> kept =
      shared.GetOrMake<std::string>(make);
  EXPECT_FALSE(kept.expired());
  EXPECT_EQ(*shared.GetOrMake<std::string>(make), "reply 1");
}

}  // namespace
}  // namespace batchnorm::session
