#include "server/session/barrier.h"

#include <algorithm>
#include <type_traits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/session/error.h"
#include "server/session/text.h"

namespace batchnorm::session {

namespace {

constexpr absl::Duration kAgain = absl::Milliseconds(100);
// For a rank that has left to come back.
constexpr absl::Duration kGrace = absl::Seconds(1);
constexpr absl::Duration kPatience = absl::Seconds(5);
constexpr std::size_t kMostRanksNamed = 16;

void Merge(PhaseSums sums, GroupSums& total) {
  std::visit(
      [&total](auto& part) {
        auto* const before = std::get_if<std::decay_t<decltype(part)>>(&total);
        if (before != nullptr) {
          before->Merge(part);
        } else {
          total = std::move(part);
        }
      },
      sums);
}

const char* NameOf(Phase phase) {
  return phase == Phase::kForward ? "Forward" : "Backward";
}

std::string Text(const PhaseKey& key) {
  std::string text = absl::StrCat(NameOf(key.phase), " of step ", key.step);
  if (key.pass > 0) absl::StrAppend(&text, ", pass ", key.pass);
  return text;
}

std::map<std::string, std::string> MetadataOf(const Attempt& attempt) {
  return {{"step", absl::StrCat(attempt.key.step)},
          {"phase", NameOf(attempt.key.phase)},
          {"pass", absl::StrCat(attempt.key.pass)},
          {"attempt", absl::StrCat(attempt.number)}};
}

// All but empty only for a Forward.
std::optional<double> WeightOf(const Attempt& attempt) {
  for (const auto& arrival : attempt.ranks) {
    if (arrival.has_value()) return arrival->new_weight;
  }
  return std::nullopt;
}

std::string WeightText(std::optional<double> weight) {
  return weight.has_value() ? session::Text(*weight) : "the cumulative average";
}

absl::Status StepReused(std::uint64_t step) {
  return InvalidField("step", "STEP_REUSED",
                      absl::StrCat("expected the arguments that this rank "
                                   "waits with in step ",
                                   step, ", got others"));
}

}  // namespace

absl::Status Aborted(std::string_view text, std::string_view reason,
                     std::map<std::string, std::string> metadata) {
  return MakeError(absl::StatusCode::kAborted,
                   absl::StrCat(std::string(text),
                                "; nothing was applied, send the same call "
                                "again"),
                   {.reason = std::string(reason),
                    .metadata = std::move(metadata),
                    .retry_after = kAgain});
}

Attempt& Barrier::Begin(const PhaseKey& key, std::uint32_t world_size,
                        absl::Time now) {
  auto attempt = std::make_unique<Attempt>(
      Attempt{.key = key,
              .number = ++last_number_,
              .began = now,
              .ranks = std::vector<std::optional<Arrival>>(world_size),
              .sums = {},
              .missing = world_size});
  return *(attempts_[key] = std::move(attempt));
}

Barrier::Result Barrier::Arrive(
    const PhaseKey& key, std::uint32_t world_size, Arrival arrival,
    PhaseSums sums, absl::Time now,
    const std::function<bool(const Arrival& former)>& is_fenced) {
  Result result;
  auto found = attempts_.find(key);
  if (found != attempts_.end()) {
    std::optional<Arrival>& former = found->second->ranks[arrival.rank];
    const std::optional<double> weight = WeightOf(*found->second);
    if (former.has_value() && former->fingerprint == arrival.fingerprint) {
      // Its caller has asked again, or will not hear.
      result.told.push_back(
          {std::exchange(former->settle, std::move(arrival.settle)),
           Aborted("a later call of this rank waits in place of this one",
                   "CALL_REPLACED", MetadataOf(*found->second))});
      return result;
    }
    if (former.has_value() && !is_fenced(*former)) {
      result.status = StepReused(key.step);
      return result;
    }
    if (former.has_value()) {
      Abort(found,
            Aborted("a rank was taken over by another run", "RANK_REFUSED",
                    MetadataOf(*found->second)),
            result.told);
      found = attempts_.end();
    } else if (weight != arrival.new_weight) {
      result.status =
          InvalidField("new_weight", "NEW_WEIGHT_DIFFERS",
                       absl::StrCat("expected that of the ranks before, ",
                                    WeightText(weight), ", got ",
                                    WeightText(arrival.new_weight)));
      result.told = Refuse(key, arrival.rank, result.status);
      return result;
    }
  }
  Attempt& attempt =
      found == attempts_.end() ? Begin(key, world_size, now) : *found->second;
  Merge(std::move(sums), attempt.sums);
  --attempt.missing;
  if (now - attempt.began < kPatience) told_late_.erase(arrival.rank);
  std::optional<Arrival>& place = attempt.ranks[arrival.rank];
  place = std::move(arrival);
  place->came = now;
  if (attempt.missing == 0) {
    result.complete = Complete(key, now);
  }
  return result;
}

std::vector<Told> Barrier::Refuse(const PhaseKey& key, std::uint32_t rank,
                                  const absl::Status& why) {
  std::vector<Told> told;
  const auto attempt = attempts_.find(key);
  if (attempt == attempts_.end()) return told;
  const auto& ranks = attempt->second->ranks;
  if (rank >= ranks.size() || ranks[rank].has_value()) return told;
  auto metadata = MetadataOf(*attempt->second);
  metadata["rank"] = absl::StrCat(rank);
  const auto detail = DetailOf(why);
  if (detail.has_value()) metadata["rank_reason"] = detail->reason;
  const absl::Status aborted =
      Aborted(absl::StrCat("rank ", rank, " was refused in the ", Text(key),
                           ": ", detail.has_value() ? detail->reason : "error"),
              "RANK_REFUSED", std::move(metadata));
  Abort(attempt, aborted, told);
  return told;
}

void Barrier::Abort(Attempts::iterator attempt, const absl::Status& why,
                    std::vector<Told>& told) {
  for (std::optional<Arrival>& arrival : attempt->second->ranks) {
    if (arrival.has_value()) told.push_back({std::move(arrival->settle), why});
  }
  attempts_.erase(attempt);
}

CompleteAttempt Barrier::Complete(const PhaseKey& key, absl::Time now) {
  const std::unique_ptr<Attempt> attempt =
      std::move(attempts_.extract(key).mapped());
  CompleteAttempt complete{
      .key = key, .ranks = {}, .sums = std::move(attempt->sums)};
  complete.ranks.reserve(attempt->ranks.size());
  for (std::optional<Arrival>& arrival : attempt->ranks) {
    if (!arrival.has_value()) continue;  // there are none
    last_wait_[arrival->rank] = now - arrival->came;
    complete.ranks.push_back(*std::move(arrival));
  }
  return complete;
}

std::string Barrier::SeenAgo(std::uint32_t rank, absl::Time now) const {
  const auto last = last_seen_.find(rank);
  if (last == last_seen_.end()) return "never";
  return absl::FormatDuration(
      absl::Trunc(now - last->second, absl::Milliseconds(1)));
}

std::optional<std::uint32_t> Barrier::FindLeft(const Attempt& attempt) const {
  for (const std::uint32_t rank : left_) {
    if (rank < attempt.ranks.size() && !attempt.ranks[rank].has_value()) {
      return rank;
    }
  }
  return std::nullopt;
}

absl::Status Barrier::Left(const Attempt& attempt, std::uint32_t rank,
                           absl::Time now) const {
  auto metadata = MetadataOf(attempt);
  const std::string seen = SeenAgo(rank, now);
  metadata["ranks"] = absl::StrCat(rank);
  metadata["last_seen"] = seen;
  return Aborted(
      absl::StrCat("rank ", rank, " has left during the ", Text(attempt.key),
                   ", attempt ", attempt.number, " (last call: ", seen,
                   seen == "never" ? ")" : " ago)"),
      "RANK_LEFT", std::move(metadata));
}

std::vector<Told> Barrier::Leave(std::uint32_t rank, absl::Time now) {
  left_.insert(rank);
  std::vector<Told> told;
  for (auto at = attempts_.begin(); at != attempts_.end();) {
    const auto next = std::next(at);
    const Attempt& attempt = *at->second;
    if (rank < attempt.ranks.size() && !attempt.ranks[rank].has_value()) {
      Abort(at, Left(attempt, rank, now), told);
    }
    at = next;
  }
  return told;
}

std::vector<Stragglers> Barrier::FindStragglers(absl::Time now) {
  std::vector<Stragglers> found;
  for (const auto& [key, attempt] : attempts_) {
    if (now - attempt->began < kPatience) continue;
    Stragglers late{.key = key,
                    .attempt = attempt->number,
                    .waited = now - attempt->began,
                    .ranks = {}};
    for (std::uint32_t rank = 0; rank < attempt->ranks.size(); ++rank) {
      if (attempt->ranks[rank].has_value()) continue;
      if (told_late_.insert(rank).second) late.ranks.push_back(rank);
    }
    if (!late.ranks.empty()) found.push_back(std::move(late));
  }
  return found;
}

GroupView Barrier::View(absl::Time now) const {
  GroupView view;
  for (const auto& [rank, seen] : last_seen_) {
    RankView& each = view.ranks.emplace_back();
    each.rank = rank;
    each.seen_ago = now - seen;
    const auto wait = last_wait_.find(rank);
    if (wait != last_wait_.end()) each.last_wait = wait->second;
  }
  for (const auto& [key, attempt] : attempts_) {
    BarrierView& barrier = view.barriers.emplace_back();
    barrier.key = key;
    barrier.attempt = attempt->number;
    barrier.age = now - attempt->began;
    for (std::uint32_t rank = 0; rank < attempt->ranks.size(); ++rank) {
      (attempt->ranks[rank].has_value() ? barrier.present : barrier.missing)
          .push_back(rank);
    }
  }
  return view;
}

absl::Status Barrier::Missing(const Attempt& attempt, absl::Time now) const {
  std::vector<std::string> ranks;
  std::vector<std::string> seen;
  for (std::uint32_t rank = 0; rank < attempt.ranks.size(); ++rank) {
    if (attempt.ranks[rank].has_value()) continue;
    if (ranks.size() == kMostRanksNamed) break;
    ranks.push_back(absl::StrCat(rank));
    seen.push_back(SeenAgo(rank, now));
  }
  const std::string others =
      attempt.missing > ranks.size()
          ? absl::StrCat(" and ", attempt.missing - ranks.size(), " more")
          : "";
  auto metadata = MetadataOf(attempt);
  metadata["ranks"] = absl::StrJoin(ranks, ",");
  metadata["last_seen"] = absl::StrJoin(seen, ",");
  metadata["missing_count"] = absl::StrCat(attempt.missing);
  return Aborted(
      absl::StrCat("the ", Text(attempt.key), ", attempt ", attempt.number,
                   ", waited ", absl::FormatDuration(now - attempt.began),
                   " for rank ", absl::StrJoin(ranks, ", "), others,
                   " (last call: ", absl::StrJoin(seen, ", "), ")"),
      "RANK_MISSING", std::move(metadata));
}

std::vector<Told> Barrier::AbortOverdue(absl::Duration timeout,
                                        absl::Time now) {
  std::vector<Told> told;
  for (auto at = attempts_.begin(); at != attempts_.end();) {
    const auto next = std::next(at);
    const Attempt& attempt = *at->second;
    const absl::Duration age = now - attempt.began;
    const auto left = age >= kGrace ? FindLeft(attempt) : std::nullopt;
    if (left.has_value()) {
      Abort(at, Left(attempt, *left, now), told);
    } else if (age >= timeout) {
      Abort(at, Missing(attempt, now), told);
    }
    at = next;
  }
  return told;
}

std::vector<Told> Barrier::AbortAll(const absl::Status& why) {
  std::vector<Told> told;
  while (!attempts_.empty()) Abort(attempts_.begin(), why, told);
  return told;
}

}  // namespace batchnorm::session
