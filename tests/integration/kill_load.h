// Clients that write all kinds of things to a server that may be killed at any moment, and know afterwards
// what it must hold.
//
//   KillLoad load(/*seed=*/1, /*num_clients=*/4);
//   load.Start(server);                 // writes and reads from threads, until the server is gone
//   load.WaitForAcknowledged(100);
//   server.Kill();
//   load.Join();
//   ServerProcess again(...);
//   load.Settle(again);                 // finds out what became of the calls that were cut off
//   load.ExpectStored(again);
//
// Every user that can be erased and every item belongs to one client, who makes one call at a time: what they
// hold is known exactly. A few users get the events of all clients.
#ifndef SWIFTLET_TESTS_INTEGRATION_KILL_LOAD_H_
#define SWIFTLET_TESTS_INTEGRATION_KILL_LOAD_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "engine/base/mutex.h"
#include "storage/training_reader.h"
#include "tests/integration/server_process.h"

namespace swiftlet::testing {

inline constexpr uint32_t kKillDim = 16;
inline constexpr size_t kKillMaxHistory = 10'000;  // the server's limits.max_history_events
inline constexpr int kKillUsersPerClient = 6;      // "user-0", .. in all: snapshots may have their vectors
inline constexpr int kKillSnapshotItemsPerClient =
    6;  // of the snapshots' "item-<i>", which clients change too

class KillLoad {
 public:
  KillLoad(uint64_t seed, int num_clients);
  ~KillLoad();

  void Start(const ServerProcess& server);
  // Also returns when every client has met the server's end.
  void WaitForAcknowledged(int calls) const;
  void Join();

  // Fails the test when a call that was cut off is there in part.
  void Settle(ServerProcess& server);
  // Compares what `server` says with what was acknowledged: all that clients own, and of the common users the
  // events since the last Start; with `all` everything.
  void ExpectStored(ServerProcess& server, bool all);
  // The event log holds every acknowledged event of users who were not erased since, once, and no other.
  void ExpectLogged(TrainingReader& log) const;

  struct Totals {
    uint64_t acknowledged = 0, cut_off = 0, cut_off_stored = 0, events = 0, duplicates = 0, items = 0,
             deleted_items = 0, deleted_users = 0, reads = 0;
  };
  Totals totals() const;

 private:
  class Client;
  // Histories by time, which is unique: the order of the store.
  using History = std::map<int64_t, std::string>;
  struct CommonUsers {
    mutable Mutex mu;
    std::map<std::string, History> histories ABSL_GUARDED_BY(mu);
  };

  static std::string Difference(ServerProcess& server, const std::string& user, const History& expected,
                                int64_t since_ms, bool has_long_term, bool check_long_term);
  void Read(const std::shared_ptr<grpc::Channel>& channel);

  CommonUsers common_;
  std::atomic<int64_t> clock_ms_{1'700'000'000'000};  // times of events
  int64_t started_ms_ = 0;                            // clock_ms_ at the last Start
  std::vector<std::unique_ptr<Client>> clients_;
  std::vector<std::thread> threads_;
  std::atomic<int> acknowledged_{0}, running_{0};  // since the last Start
  std::atomic<uint64_t> reads_{0};
};

}  // namespace swiftlet::testing

#endif  // SWIFTLET_TESTS_INTEGRATION_KILL_LOAD_H_
