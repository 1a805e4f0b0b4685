#include "tests/integration/server_process.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <future>
#include <sstream>
#include <thread>

namespace swiftlet::testing {
namespace {

constexpr auto kTimeout = std::chrono::seconds(30);
constexpr auto kPoll = std::chrono::milliseconds(5);

std::string ReadAll(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

// Starts the binary with stdout and stderr in files. The child dies with the test.
pid_t Spawn(const std::vector<std::string>& args, const std::string& out_path, const std::string& err_path,
            int max_descriptors = 0) {
  std::vector<char*> argv = {const_cast<char*>(SWIFTLET_SERVER_BINARY)};
  for (const std::string& arg : args) argv.push_back(const_cast<char*>(arg.c_str()));
  argv.push_back(nullptr);
  const int out = open(out_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  const int err = open(err_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  const pid_t pid = fork();
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    if (max_descriptors > 0) {
      const rlimit limit = {static_cast<rlim_t>(max_descriptors), static_cast<rlim_t>(max_descriptors)};
      setrlimit(RLIMIT_NOFILE, &limit);
    }
    execv(argv[0], argv.data());
    _exit(127);
  }
  close(out);
  close(err);
  return pid;
}

int WaitFor(pid_t pid) {
  int status = 0;
  if (waitpid(pid, &status, 0) != pid) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

template <typename Stub, typename Request, typename Response>
grpc::Status Call(Stub& stub, grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                  const Request& request, Response* response) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kTimeout);
  return (stub.*method)(&context, request, response);
}

}  // namespace

bool Eventually(const std::function<bool()>& condition, std::chrono::seconds at_most) {
  const auto end = std::chrono::steady_clock::now() + at_most;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(kPoll);
  }
  return true;
}

grpc::Status CallOver(const std::shared_ptr<grpc::Channel>& channel, const std::string& authorization) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kTimeout);
  if (!authorization.empty()) context.AddMetadata("authorization", authorization);
  v1::GetStatusResponse response;
  return v1::AdminService::NewStub(channel)->GetStatus(&context, {}, &response);
}

ProgramResult RunServerBinary(const std::vector<std::string>& args) {
  char directory[] = "/tmp/swiftlet_run_XXXXXX";
  if (mkdtemp(directory) == nullptr) return {};
  const std::string out = std::string(directory) + "/out", err = std::string(directory) + "/err";
  ProgramResult result;
  result.exit_code = WaitFor(Spawn(args, out, err));
  result.out = ReadAll(out);
  result.err = ReadAll(err);
  unlink(out.c_str());
  unlink(err.c_str());
  rmdir(directory);
  return result;
}

ServerProcess::ServerProcess(const Options& options)
    : options_(options), log_path_(options.dir + "/server.log") {
  const std::string config_path = options.dir + "/server.textproto", port_path = options.dir + "/ports";
  unlink(port_path.c_str());
  {
    std::ofstream config(config_path);
    config << "snapshots { poll_interval_ms: 10 " << options.snapshot_config << " }\n"
           << options.config << "\n";
  }
  std::vector<std::string> args = {"--listen",    options.listen, "--metrics",   "127.0.0.1:0",
                                   "--data-dir",  data_dir(),     "--model-dir", model_dir(),
                                   "--port-file", port_path,      "--log-level", "debug"};
  if (options.has_config) args.insert(args.end(), {"--config", config_path});
  args.insert(args.end(), options.args.begin(), options.args.end());
  pid_ = Spawn(args, log_path_, log_path_, options.max_descriptors);
  if (!options.wait) return;
  const bool started = Eventually([&] {
    if (access(port_path.c_str(), R_OK) == 0) return true;
    int status = 0;
    if (waitpid(pid_, &status, WNOHANG) == pid_) {
      pid_ = -1;
      return true;
    }
    return false;
  });
  std::ifstream ports(port_path);
  if (!started || pid_ < 0 || !(ports >> grpc_port_ >> metrics_port_)) {
    ADD_FAILURE() << "the server did not start:\n" << Log();
    return;
  }
  if (!(ports >> http_port_)) http_port_ = 0;
  channel_ = NewChannel();
  recommendation_ = v1::RecommendationService::NewStub(channel_);
  event_ = v1::EventService::NewStub(channel_);
  catalog_ = v1::CatalogService::NewStub(channel_);
  user_ = v1::UserService::NewStub(channel_);
  admin_ = v1::AdminService::NewStub(channel_);
}

ServerProcess::~ServerProcess() {
  if (running()) Kill();
}

void ServerProcess::Signal(int signal_number) { kill(pid_, signal_number); }

int ServerProcess::Wait() {
  const int code = WaitFor(pid_);
  pid_ = -1;
  return code;
}

int ServerProcess::Terminate() {
  Signal(SIGTERM);
  return Wait();
}

int ServerProcess::Kill() {
  Signal(SIGKILL);
  return Wait();
}

std::string ServerProcess::Log() const { return ReadAll(log_path_); }

std::shared_ptr<grpc::Channel> ServerProcess::NewChannel() const {
  return NewChannel(options_.credentials == nullptr ? grpc::InsecureChannelCredentials()
                                                    : options_.credentials);
}

std::shared_ptr<grpc::Channel> ServerProcess::NewChannel(
    const std::shared_ptr<grpc::ChannelCredentials>& credentials) const {
  grpc::ChannelArguments args;
  args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  args.SetMaxReceiveMessageSize(-1);
  return grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(grpc_port_), credentials, args);
}

grpc::Status ServerProcess::Recommend(const v1::RecommendRequest& request, v1::RecommendResponse* response) {
  return Call(*recommendation_, &v1::RecommendationService::Stub::Recommend, request, response);
}
grpc::Status ServerProcess::ScoreItems(const v1::ScoreItemsRequest& request,
                                       v1::ScoreItemsResponse* response) {
  return Call(*recommendation_, &v1::RecommendationService::Stub::ScoreItems, request, response);
}
grpc::Status ServerProcess::Predict(const v1::PredictRequest& request, v1::PredictResponse* response) {
  return Call(*recommendation_, &v1::RecommendationService::Stub::Predict, request, response);
}
grpc::Status ServerProcess::SimilarItems(const v1::SimilarItemsRequest& request,
                                         v1::SimilarItemsResponse* response) {
  return Call(*recommendation_, &v1::RecommendationService::Stub::SimilarItems, request, response);
}
grpc::Status ServerProcess::RecordEvents(const v1::RecordEventsRequest& request,
                                         v1::RecordEventsResponse* response) {
  return Call(*event_, &v1::EventService::Stub::RecordEvents, request, response);
}
grpc::Status ServerProcess::UpsertItems(const v1::UpsertItemsRequest& request,
                                        v1::UpsertItemsResponse* response) {
  return Call(*catalog_, &v1::CatalogService::Stub::UpsertItems, request, response);
}
grpc::Status ServerProcess::DeleteItems(const v1::DeleteItemsRequest& request,
                                        v1::DeleteItemsResponse* response) {
  return Call(*catalog_, &v1::CatalogService::Stub::DeleteItems, request, response);
}
grpc::Status ServerProcess::GetItems(const v1::GetItemsRequest& request, v1::GetItemsResponse* response) {
  return Call(*catalog_, &v1::CatalogService::Stub::GetItems, request, response);
}
grpc::Status ServerProcess::GetUser(const v1::GetUserRequest& request, v1::GetUserResponse* response) {
  return Call(*user_, &v1::UserService::Stub::GetUser, request, response);
}
grpc::Status ServerProcess::DeleteUser(const v1::DeleteUserRequest& request,
                                       v1::DeleteUserResponse* response) {
  return Call(*user_, &v1::UserService::Stub::DeleteUser, request, response);
}
grpc::Status ServerProcess::ListSnapshots(v1::ListSnapshotsResponse* response) {
  return Call(*admin_, &v1::AdminService::Stub::ListSnapshots, v1::ListSnapshotsRequest(), response);
}
grpc::Status ServerProcess::LoadSnapshot(int64_t version, v1::LoadSnapshotResponse* response) {
  v1::LoadSnapshotRequest request;
  request.set_version(version);
  // A load of the server's own accord may be in progress.
  grpc::Status status;
  Eventually([&] {
    status = Call(*admin_, &v1::AdminService::Stub::LoadSnapshot, request, response);
    return status.error_code() != grpc::StatusCode::ABORTED;
  });
  return status;
}

v1::GetStatusResponse ServerProcess::GetStatus() {
  v1::GetStatusResponse response;
  const grpc::Status status =
      Call(*admin_, &v1::AdminService::Stub::GetStatus, v1::GetStatusRequest(), &response);
  EXPECT_TRUE(status.ok()) << status.error_message() << "\n" << Log();
  return response;
}

bool ServerProcess::WaitForVersion(int64_t version) {
  return Eventually([&] { return GetStatus().serving().version() == version; });
}

bool ServerProcess::WaitForState(int64_t version, v1::SnapshotState state) {
  return Eventually([&] {
    v1::ListSnapshotsResponse response;
    if (!ListSnapshots(&response).ok()) return false;
    for (const v1::SnapshotInfo& info : response.snapshots()) {
      if (info.version() == version) return info.state() == state;
    }
    return false;
  });
}

grpc::Status ServerProcess::CallRaw(const std::string& method, const std::string& bytes,
                                    std::string* response) {
  grpc::GenericStub stub(channel_);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kTimeout);
  const grpc::Slice slice(bytes);
  const grpc::ByteBuffer request(&slice, 1);
  grpc::ByteBuffer answer;
  std::promise<grpc::Status> done;
  stub.UnaryCall(&context, method, {}, &request, &answer,
                 [&](grpc::Status status) { done.set_value(std::move(status)); });
  const grpc::Status status = done.get_future().get();
  std::vector<grpc::Slice> slices;
  if (status.ok() && response != nullptr && answer.Dump(&slices).ok()) {
    response->clear();
    for (const grpc::Slice& s : slices) response->append(reinterpret_cast<const char*>(s.begin()), s.size());
  }
  return status;
}

int ServerProcess::Health(const std::string& service) {
  std::string request, response;
  // HealthCheckRequest {string service = 1}; HealthCheckResponse {ServingStatus status = 1}.
  if (!service.empty()) request = std::string("\x0a") + static_cast<char>(service.size()) + service;
  const grpc::Status status = CallRaw("/grpc.health.v1.Health/Check", request, &response);
  if (!status.ok()) return -static_cast<int>(status.error_code());
  return response.size() == 2 && response[0] == 0x08 ? response[1] : 0;
}

std::string ServerProcess::Metrics() const {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(metrics_port_));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::string page;
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
    const std::string request = "GET /metrics HTTP/1.0\r\nConnection: close\r\n\r\n";
    if (write(fd, request.data(), request.size()) == static_cast<ssize_t>(request.size())) {
      char buffer[4096];
      for (ssize_t n; (n = read(fd, buffer, sizeof(buffer))) > 0;)
        page.append(buffer, static_cast<size_t>(n));
    }
  }
  close(fd);
  return page;
}

double ServerProcess::Metric(const std::string& series) const {
  const std::string page = "\n" + Metrics();
  const size_t at = page.find("\n" + series + " ");
  return at == std::string::npos ? -1 : std::atof(page.c_str() + at + series.size() + 2);
}

v1::RecommendRequest UserRequest(const std::string& user_id, int k) {
  v1::RecommendRequest request;
  request.set_user_id(user_id);
  request.set_k(k);
  return request;
}

v1::Event MakeEvent(const std::string& user_id, const std::string& item_id, const std::string& type,
                    int64_t timestamp_ms, const std::string& event_id) {
  v1::Event event;
  event.set_user_id(user_id);
  event.set_item_id(item_id);
  event.set_type(type);
  event.set_timestamp_ms(timestamp_ms);
  event.set_event_id(event_id);
  return event;
}

v1::RecordEventsRequest Batch(const std::vector<v1::Event>& events) {
  v1::RecordEventsRequest request;
  for (const v1::Event& event : events) *request.add_events() = event;
  return request;
}

}  // namespace swiftlet::testing
