// What store.h promises, for every store there is.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "server/storage/memory_store.h"
#include "server/storage/sqlite_store.h"
#include "server/storage/store.h"
#include "tests/unit/storage/temporary_folder.h"

namespace batchnorm::storage {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

struct Kind {
  const char* name;
  std::function<std::unique_ptr<Store>(const TemporaryFolder&)> open;
};

std::unique_ptr<Store> OpenSqlite(const TemporaryFolder& folder,
                                  Durability durability) {
  auto store = SqliteStore::Open(
      {.path = folder.File("rows.db"), .durability = durability});
  EXPECT_TRUE(store.ok()) << store.status();
  return store.ok() ? *std::move(store) : nullptr;
}

const Kind kKinds[] = {
    {"Memory",
     [](const TemporaryFolder&) { return std::make_unique<MemoryStore>(); }},
    {"SqliteFull",
     [](const TemporaryFolder& folder) {
       return OpenSqlite(folder, Durability::kFull);
     }},
    {"SqliteNormal",
     [](const TemporaryFolder& folder) {
       return OpenSqlite(folder, Durability::kNormal);
     }},
    {"SqliteOff",
     [](const TemporaryFolder& folder) {
       return OpenSqlite(folder, Durability::kOff);
     }},
};

// With bytes that a text or a signed number would not hold.
const std::string kBytes("\0\xff\x80z\0", 5);
constexpr std::uint64_t kLife = 0xfedcba9876543210;

class StoreContractTest : public testing::TestWithParam<Kind> {
 protected:
  std::vector<Outcome> Commit(const std::vector<Write>& writes) {
    const auto outcomes = store_->Commit(writes);
    EXPECT_TRUE(outcomes.ok()) << outcomes.status();
    return outcomes.value_or(std::vector<Outcome>());
  }
  Outcome Commit(const Write& write) {
    return Commit(std::vector<Write>{write}).at(0);
  }
  std::optional<Row> Load(const std::string& key) {
    const auto row = store_->Load(key);
    EXPECT_TRUE(row.ok()) << row.status();
    return row.value_or(std::nullopt);
  }
  Outcome Erase(const std::string& key, std::uint64_t incarnation) {
    const auto outcome = store_->Erase(key, incarnation);
    EXPECT_TRUE(outcome.ok()) << outcome.status();
    return *outcome;
  }
  std::vector<std::string> Keys(const std::string& from, std::size_t limit) {
    const auto rows = store_->Scan(from, limit);
    EXPECT_TRUE(rows.ok()) << rows.status();
    std::vector<std::string> keys;
    for (const Row& row : *rows) keys.push_back(row.key);
    return keys;
  }

  TemporaryFolder folder_;
  std::unique_ptr<Store> store_ = GetParam().open(folder_);
};

TEST_P(StoreContractTest, ARowIsLoadedAsItWasWritten) {
  EXPECT_FALSE(Load("a").has_value());
  for (const std::string& key : {std::string("a"), kBytes}) {
    EXPECT_EQ(Commit({key, {kLife, 0}, kBytes, std::string(1 << 20, '\xaa')}),
              Outcome::kDone);
    const auto row = Load(key);
    ASSERT_TRUE(row.has_value());
    EXPECT_EQ(row->key, key);
    EXPECT_EQ(row->version, (Version{kLife, 1}));
    EXPECT_EQ(row->header, kBytes);
    EXPECT_EQ(row->body, std::string(1 << 20, '\xaa'));
  }
  EXPECT_EQ(*store_->Count(), 2);
}

TEST_P(StoreContractTest, EmptyHeadersAndBodiesAreKept) {
  EXPECT_EQ(Commit({"a", {1, 0}, "", ""}), Outcome::kDone);
  const auto row = Load("a");
  ASSERT_TRUE(row.has_value());
  EXPECT_EQ(row->header + row->body, "");
}

TEST_P(StoreContractTest, AWriteReplacesTheVersionItNames) {
  for (std::uint64_t number = 0; number < 5; ++number) {
    const std::string text = std::to_string(number);
    EXPECT_EQ(Commit({"a", {kLife, number}, "h" + text, "b" + text}),
              Outcome::kDone);
    const auto row = Load("a");
    ASSERT_TRUE(row.has_value());
    EXPECT_EQ(row->version, (Version{kLife, number + 1}));
    EXPECT_EQ(row->header, "h" + text);
    EXPECT_EQ(row->body, "b" + text);
  }
}

TEST_P(StoreContractTest, APartStaysUntilAnotherOneReplacesIt) {
  const std::string large(1 << 20, '\xbb');
  Commit({"a", {1, 0}, "", "b1", {{7, "seven"}, {0, kBytes}}});
  Commit({"b", {1, 0}, "", "", {{7, "of b"}}});
  EXPECT_EQ(Load("a")->parts, (std::vector<Part>{{0, kBytes}, {7, "seven"}}));
  Commit({"a", {1, 1}, "", "b2"});
  EXPECT_EQ(Load("a")->body, "b2");
  EXPECT_EQ(Load("a")->parts, (std::vector<Part>{{0, kBytes}, {7, "seven"}}));
  Commit({"a", {1, 2}, "", "", {{7, large}, {4'000'000'000, ""}}});
  EXPECT_EQ(Load("a")->parts,
            (std::vector<Part>{{0, kBytes}, {7, large}, {4'000'000'000, ""}}));
  EXPECT_EQ(Load("b")->parts, (std::vector<Part>{{7, "of b"}}));
  EXPECT_THAT(store_->Scan("", 1)->at(0).parts, IsEmpty());
  EXPECT_EQ(*store_->Count(), 2);
}

TEST_P(StoreContractTest, AConflictLeavesThePartsAsTheyAre) {
  Commit({"a", {1, 0}, "", "", {{1, "one"}}});
  EXPECT_EQ(Commit({"a", {1, 0}, "", "", {{1, "x"}}}), Outcome::kConflict);
  EXPECT_EQ(Commit({"a", {1, 2}, "", "", {{2, "x"}}}), Outcome::kConflict);
  EXPECT_EQ(Load("a")->parts, (std::vector<Part>{{1, "one"}}));
}

TEST_P(StoreContractTest, PartsGoWithTheirRow) {
  Commit({"a", {1, 0}, "", "", {{1, "one"}}});
  EXPECT_EQ(Erase("a", 2), Outcome::kConflict);
  EXPECT_EQ(Load("a")->parts, (std::vector<Part>{{1, "one"}}));
  EXPECT_EQ(Erase("a", 1), Outcome::kDone);
  Commit({"a", {2, 0}, "", ""});
  EXPECT_THAT(Load("a")->parts, IsEmpty());
}

TEST_P(StoreContractTest, AnotherVersionIsAConflictAndChangesNothing) {
  Commit({"a", {7, 0}, "h", "b"});
  Commit({"a", {7, 1}, "h2", "b2"});
  for (const Version expected :
       {Version{7, 0}, {8, 0}, {7, 1}, {7, 3}, {8, 2}, {0, 2}}) {
    EXPECT_EQ(Commit({"a", expected, "x", "y"}), Outcome::kConflict);
  }
  EXPECT_EQ(Commit({"none", {7, 1}, "x", "y"}), Outcome::kConflict);
  EXPECT_FALSE(Load("none").has_value());
  const auto row = Load("a");
  ASSERT_TRUE(row.has_value());
  EXPECT_EQ(row->version, (Version{7, 2}));
  EXPECT_EQ(row->header + row->body, "h2b2");
}

TEST_P(StoreContractTest, AConflictFailsItsOwnWriteOnly) {
  EXPECT_THAT(Commit({{"a", {1, 0}, "", "1"},
                      {"b", {1, 5}, "", "2"},
                      {"a", {1, 1}, "", "3"},
                      {"a", {1, 1}, "", "4"},
                      {"c", {1, 0}, "", "5"}}),
              ElementsAre(Outcome::kDone, Outcome::kConflict, Outcome::kDone,
                          Outcome::kConflict, Outcome::kDone));
  EXPECT_EQ(Load("a")->body, "3");
  EXPECT_EQ(Load("c")->body, "5");
  EXPECT_THAT(Keys("", 10), ElementsAre("a", "c"));
}

TEST_P(StoreContractTest, AnErasedRowIsGoneAndALateWriteDoesNotBringItBack) {
  Commit({"a", {1, 0}, "", "old"});
  EXPECT_EQ(Erase("a", 2), Outcome::kConflict);
  EXPECT_EQ(Erase("b", 1), Outcome::kConflict);
  EXPECT_TRUE(Load("a").has_value());
  EXPECT_EQ(Erase("a", 1), Outcome::kDone);
  EXPECT_FALSE(Load("a").has_value());
  EXPECT_EQ(*store_->Count(), 0);
  EXPECT_EQ(Erase("a", 1), Outcome::kConflict);
  EXPECT_EQ(Commit({"a", {1, 1}, "", "late"}), Outcome::kConflict);
  // Nor does it land in the next row of that key.
  EXPECT_EQ(Commit({"a", {2, 0}, "", "new"}), Outcome::kDone);
  EXPECT_EQ(Commit({"a", {1, 1}, "", "late"}), Outcome::kConflict);
  EXPECT_EQ(Erase("a", 1), Outcome::kConflict);
  EXPECT_EQ(Load("a")->body, "new");
}

TEST_P(StoreContractTest, AScanIsInTheOrderOfBytesWithoutBodies) {
  for (const char* key : {"b", "a/b", "a", "a.b", "\xff", "A", "a-", "aa"}) {
    Commit({key, {1, 0}, key, "body"});
  }
  EXPECT_THAT(Keys("", 100),
              ElementsAre("A", "a", "a-", "a.b", "a/b", "aa", "b", "\xff"));
  EXPECT_THAT(Keys("a", 3), ElementsAre("a", "a-", "a.b"));
  EXPECT_THAT(Keys(std::string("a\0", 2), 2), ElementsAre("a-", "a.b"));
  EXPECT_THAT(Keys("\xff\xff", 2), IsEmpty());
  EXPECT_THAT(Keys("", 0), IsEmpty());
  const auto rows = store_->Scan("b", 1);
  ASSERT_TRUE(rows.ok());
  EXPECT_EQ(rows->at(0).header, "b");
  EXPECT_EQ(rows->at(0).body, "");
  EXPECT_EQ(rows->at(0).version, (Version{1, 1}));
}

// Any sequence of operations, beside the simplest thing that could be a store.
TEST_P(StoreContractTest, BehavesAsAMap) {
  std::mt19937_64 random(3);
  std::map<std::string, Row> model;
  const auto one_of = [&](std::uint64_t n) { return random() % n; };
  for (int i = 0; i < 2000; ++i) {
    const std::string key(1, static_cast<char>('a' + one_of(4)));
    const auto found = model.find(key);
    const Version now =
        found == model.end() ? Version{} : found->second.version;
    // Right half of the time, else something near it.
    const Version expected = {one_of(4) == 0 ? one_of(3) : now.incarnation,
                              one_of(4) == 0 ? one_of(3) : now.number};
    const bool is_row = expected == now && now.number != 0;
    if (one_of(5) == 0) {
      const bool erased =
          found != model.end() && now.incarnation == expected.incarnation;
      ASSERT_EQ(Erase(key, expected.incarnation),
                erased ? Outcome::kDone : Outcome::kConflict);
      if (erased) model.erase(key);
    } else {
      const std::string body = std::to_string(i);
      const bool written =
          is_row || (found == model.end() && expected.number == 0);
      ASSERT_EQ(Commit({key, expected, "", body}),
                written ? Outcome::kDone : Outcome::kConflict);
      if (written) {
        model[key] = {
            key, {expected.incarnation, expected.number + 1}, "", body};
      }
    }
    const auto row = Load(key);
    ASSERT_EQ(row.has_value(), model.contains(key));
    if (row) {
      ASSERT_EQ(row->version, model[key].version);
      ASSERT_EQ(row->body, model[key].body);
    }
  }
}

// Read, change, write, from many threads: no change is lost.
TEST_P(StoreContractTest, ConcurrentWritersLoseNothing) {
  Commit({"sum", {1, 0}, "", "0"});
  constexpr int kThreads = 4;
  constexpr int kChanges = 50;
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int done = 0; done < kChanges;) {
        const auto row = *store_->Load("sum");
        const Write write = {"sum", row->version, "",
                             std::to_string(std::stoi(row->body) + 1)};
        done += store_->Commit({&write, 1})->at(0) == Outcome::kDone;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(Load("sum")->body, std::to_string(kThreads * kChanges));
  EXPECT_EQ(Load("sum")->version.number, 1U + kThreads * kChanges);
}

INSTANTIATE_TEST_SUITE_P(Stores, StoreContractTest, testing::ValuesIn(kKinds),
                         [](const auto& parameter) {
                           return parameter.param.name;
                         });

}  // namespace
}  // namespace batchnorm::storage
