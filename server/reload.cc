#include "server/reload.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/util/message_differencer.h>

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace swiftlet {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::util::MessageDifferencer;

constexpr std::string_view kReloadable[] = {"log.level",
                                            "log.slow_request_ms",
                                            "log.slow_request_users",
                                            "limits.max_concurrent_requests",
                                            "limits.min_queued_calls",
                                            "limits.max_queued_calls",
                                            "limits.queue_target_us",
                                            "limits.methods",
                                            "drain_timeout_ms",
                                            "retrieval.mode",
                                            "retrieval.budget_rows",
                                            "retrieval.budget_us",
                                            "security.rate_limit",
                                            "security.client_rate_limits",
                                            "backup"};

// Collects the fields that differ, each once.
class Collector final : public MessageDifferencer::Reporter {
 public:
  void ReportAdded(const Message&, const Message&,
                   const std::vector<MessageDifferencer::SpecificField>& path) override {
    Add(path);
  }
  void ReportDeleted(const Message&, const Message&,
                     const std::vector<MessageDifferencer::SpecificField>& path) override {
    Add(path);
  }
  void ReportModified(const Message&, const Message&,
                      const std::vector<MessageDifferencer::SpecificField>& path) override {
    Add(path);
  }
  std::vector<std::string> paths;

 private:
  void Add(const std::vector<MessageDifferencer::SpecificField>& path) {
    const FieldDescriptor* last = path.back().field;
    if (last->message_type() != nullptr && !last->is_repeated()) return;  // its fields are reported, too
    std::string text;
    for (const MessageDifferencer::SpecificField& part : path) {
      absl::StrAppend(&text, text.empty() ? "" : ".", part.field->name());
      if (part.field->is_repeated()) break;
    }
    if (std::find(paths.begin(), paths.end(), text) == paths.end()) paths.push_back(text);
  }
};

// Every message that a path may name is there, so that what one of two configurations does not have at all is
// compared field by field, too.
void FillIn(Message* message) {
  for (int i = 0; i < message->GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor* field = message->GetDescriptor()->field(i);
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE && !field->is_repeated()) {
      FillIn(message->GetReflection()->MutableMessage(message, field));
    }
  }
}

}  // namespace

std::vector<std::string> ChangedFields(const v1::ServerConfig& before, const v1::ServerConfig& after) {
  v1::ServerConfig a = before, b = after;
  FillIn(&a);
  FillIn(&b);
  Collector collector;
  MessageDifferencer differencer;
  differencer.ReportDifferencesTo(&collector);
  differencer.Compare(a, b);
  return std::move(collector.paths);
}

bool IsReloadable(std::string_view path) {
  return std::any_of(std::begin(kReloadable), std::end(kReloadable), [&](std::string_view one) {
    return path == one || (path.starts_with(one) && path[one.size()] == '.');
  });
}

}  // namespace swiftlet
