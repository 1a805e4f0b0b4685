// A real swiftlet-server in a process of its own, and stubs to call it.
//
//   TempDir dir;
//   ServerProcess server({.dir = dir.path()});             // data in <dir>/data, snapshots in <dir>/models
//   RecommendResponse response;
//   ASSERT_OK(server.Recommend(request, &response));
//   EXPECT_EQ(server.Terminate(), 0);
#ifndef SWIFTLET_TESTS_INTEGRATION_SERVER_PROCESS_H_
#define SWIFTLET_TESTS_INTEGRATION_SERVER_PROCESS_H_

#include <grpcpp/grpcpp.h>
#include <sys/types.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "swiftlet/v1/admin.grpc.pb.h"
#include "swiftlet/v1/catalog.grpc.pb.h"
#include "swiftlet/v1/event.grpc.pb.h"
#include "swiftlet/v1/recommendation.grpc.pb.h"
#include "swiftlet/v1/user.grpc.pb.h"

namespace swiftlet::testing {

// What a program that ends by itself said.
struct ProgramResult {
  int exit_code = -1;  // 128 + signal for a killed one
  std::string out, err;
};
// Runs swiftlet-server with these arguments to its end.
ProgramResult RunServerBinary(const std::vector<std::string>& args);

// Asks again and again, every 5 ms; false when it was not so for this long.
bool Eventually(const std::function<bool()>& condition,
                std::chrono::seconds at_most = std::chrono::seconds(60));

// What a call of GetStatus over this channel gets, within 30 s. authorization: of its metadata; empty: none.
grpc::Status CallOver(const std::shared_ptr<grpc::Channel>& channel, const std::string& authorization = "");

class ServerProcess {
 public:
  struct Options {
    std::string dir = {};
    std::string config = {};             // more lines of the configuration file
    bool has_config = true;              // false: by flags alone
    std::string snapshot_config = {};    // more of its section `snapshots`
    std::vector<std::string> args = {};  // more flags
    std::string listen = "127.0.0.1:0";  // elsewhere: channel() and the calls go nowhere
    int max_descriptors = 0;             // its hard limit of them; 0: this process's
    // Of channel(), NewChannel and the calls; null: without TLS.
    std::shared_ptr<grpc::ChannelCredentials> credentials = nullptr;
    bool wait = true;  // for the ports; false: only running(), Signal, Wait and Kill may be used
  };
  // Returns when both ports listen; fails the test and leaves running() false otherwise.
  explicit ServerProcess(const Options& options);
  // Kills what still runs.
  ~ServerProcess();
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;

  bool running() const { return pid_ > 0; }
  void Signal(int signal_number);
  pid_t pid() const { return pid_; }
  // Waits for the end: the exit code, or 128 + signal.
  int Wait();
  int Terminate();  // SIGTERM, then Wait
  int Kill();       // SIGKILL, then Wait
  // What it has logged so far.
  std::string Log() const;

  int grpc_port() const { return grpc_port_; }
  int metrics_port() const { return metrics_port_; }
  int http_port() const { return http_port_; }  // 0: without --http-listen
  std::string model_dir() const { return options_.dir + "/models"; }
  std::string data_dir() const { return options_.dir + "/data"; }
  // A new connection of its own.
  std::shared_ptr<grpc::Channel> NewChannel() const;
  std::shared_ptr<grpc::Channel> NewChannel(
      const std::shared_ptr<grpc::ChannelCredentials>& credentials) const;
  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }

  // Each with a deadline of 30 s.
  grpc::Status Recommend(const v1::RecommendRequest& request, v1::RecommendResponse* response);
  grpc::Status Predict(const v1::PredictRequest& request, v1::PredictResponse* response);
  grpc::Status ScoreItems(const v1::ScoreItemsRequest& request, v1::ScoreItemsResponse* response);
  grpc::Status SimilarItems(const v1::SimilarItemsRequest& request, v1::SimilarItemsResponse* response);
  grpc::Status RecordEvents(const v1::RecordEventsRequest& request, v1::RecordEventsResponse* response);
  grpc::Status UpsertItems(const v1::UpsertItemsRequest& request, v1::UpsertItemsResponse* response);
  grpc::Status DeleteItems(const v1::DeleteItemsRequest& request, v1::DeleteItemsResponse* response);
  grpc::Status GetItems(const v1::GetItemsRequest& request, v1::GetItemsResponse* response);
  grpc::Status GetUser(const v1::GetUserRequest& request, v1::GetUserResponse* response);
  grpc::Status DeleteUser(const v1::DeleteUserRequest& request, v1::DeleteUserResponse* response);
  grpc::Status ListSnapshots(v1::ListSnapshotsResponse* response);
  grpc::Status LoadSnapshot(int64_t version, v1::LoadSnapshotResponse* response);
  v1::GetStatusResponse GetStatus();

  // True once `version` serves; false after 30 s.
  bool WaitForVersion(int64_t version);
  // True once ListSnapshots reports this state of `version`; false after 30 s.
  bool WaitForState(int64_t version, v1::SnapshotState state);
  // grpc.health.v1: the number of ServingStatus (1: SERVING, 2: NOT_SERVING), or minus the status code.
  int Health(const std::string& service);
  // Sends bytes as they are to "/swiftlet.v1.Service/Method".
  grpc::Status CallRaw(const std::string& method, const std::string& bytes, std::string* response);
  // The page of GET /metrics.
  std::string Metrics() const;
  // The value of one line of the page, such as `swiftlet_snapshot_version`; -1 when it is not there.
  double Metric(const std::string& series) const;

 private:
  const Options options_;
  std::string log_path_;
  pid_t pid_ = -1;
  int grpc_port_ = 0;
  int metrics_port_ = 0;
  int http_port_ = 0;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::RecommendationService::Stub> recommendation_;
  std::unique_ptr<v1::EventService::Stub> event_;
  std::unique_ptr<v1::CatalogService::Stub> catalog_;
  std::unique_ptr<v1::UserService::Stub> user_;
  std::unique_ptr<v1::AdminService::Stub> admin_;
};

// --- short forms of requests ---
v1::RecommendRequest UserRequest(const std::string& user_id, int k);
v1::Event MakeEvent(const std::string& user_id, const std::string& item_id, const std::string& type = "click",
                    int64_t timestamp_ms = 0, const std::string& event_id = "");
v1::RecordEventsRequest Batch(const std::vector<v1::Event>& events);

#define ASSERT_OK(expr)                                                               \
  do {                                                                                \
    const grpc::Status s_ = (expr);                                                   \
    ASSERT_TRUE(s_.ok()) << "code " << s_.error_code() << ": " << s_.error_message(); \
  } while (false)
#define EXPECT_OK(expr)                                                               \
  do {                                                                                \
    const grpc::Status s_ = (expr);                                                   \
    EXPECT_TRUE(s_.ok()) << "code " << s_.error_code() << ": " << s_.error_message(); \
  } while (false)
#define EXPECT_CODE(expr, code, substring)                            \
  do {                                                                \
    const grpc::Status s_ = (expr);                                   \
    EXPECT_EQ(s_.error_code(), code) << s_.error_message();           \
    EXPECT_THAT(s_.error_message(), ::testing::HasSubstr(substring)); \
  } while (false)

}  // namespace swiftlet::testing

#endif  // SWIFTLET_TESTS_INTEGRATION_SERVER_PROCESS_H_
