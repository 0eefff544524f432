#include "server/session/presence.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/session/barrier.h"
#include "server/session/error.h"
#include "server/session/text.h"

namespace batchnorm::session {

absl::Status CheckJob(std::string_view job) {
  if (!job.empty() && job.size() <= kMaxJobBytes) return absl::OkStatus();
  return InvalidField(
      "job", "BAD_JOB",
      absl::StrCat("expected 1 to ", kMaxJobBytes, " bytes, got ", job.size()));
}

absl::StatusOr<std::uint64_t> Presence::Join(std::uint32_t rank,
                                             std::string_view job,
                                             OnPresence on_presence,
                                             std::uint64_t last_step,
                                             std::vector<News>& news) {
  const auto other =
      std::find_if(members_.begin(), members_.end(),
                   [job](const auto& each) { return each.second.job != job; });
  if (other != members_.end()) {
    return MakeError(
        absl::StatusCode::kAlreadyExists,
        absl::StrCat("job: expected ", Quoted(other->second.job), ", as rank ",
                     other->first, " of it is alive, got ", Quoted(job),
                     "; two jobs use one session"),
        {.reason = "OTHER_JOB",
         .field = "job",
         .metadata = {{"job", other->second.job},
                      {"rank", absl::StrCat(other->first)}}});
  }
  Member& member = members_[rank];
  if (member.ticket != 0) {
    news.push_back({std::move(member.on_presence),
                    Aborted("the rank has joined again", "CALL_REPLACED",
                            {{"rank", absl::StrCat(rank)}})});
  }
  member = {.ticket = ++last_ticket_,
            .job = std::string(job),
            .on_presence = std::move(on_presence)};
  TellAll(last_step, news);
  return last_ticket_;
}

bool Presence::Leave(std::uint32_t rank, std::uint64_t ticket,
                     std::uint64_t last_step, std::vector<News>& news) {
  const auto member = members_.find(rank);
  if (member == members_.end() || member->second.ticket != ticket) return false;
  members_.erase(member);
  TellAll(last_step, news);
  return true;
}

std::vector<Presence::News> Presence::EndFrom(std::uint32_t first,
                                              const absl::Status& why) {
  std::vector<News> news;
  const auto begin = members_.lower_bound(first);
  for (auto member = begin; member != members_.end(); ++member) {
    news.push_back({std::move(member->second.on_presence), why});
  }
  members_.erase(begin, members_.end());
  return news;
}

void Presence::TellAll(std::uint64_t last_step, std::vector<News>& news) {
  PresentRanks present{
      .ranks = {}, .last_step = last_step, .version = ++last_version_};
  for (const auto& [rank, member] : members_) present.ranks.push_back(rank);
  for (const auto& [rank, member] : members_) {
    news.push_back({member.on_presence, present});
  }
}

}  // namespace batchnorm::session
