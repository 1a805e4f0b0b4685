#include "server/http/api_methods.h"

#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/util/json_util.h>
#include <google/protobuf/util/type_resolver_util.h>

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace swiftlet {
namespace {

namespace pb = google::protobuf;

constexpr char kTypePrefix[] = "type.googleapis.com";

std::string TypeUrl(const pb::Descriptor& message) {
  return absl::StrCat(kTypePrefix, "/", message.full_name());
}

// What protobuf says of JSON that it does not take, as the other errors of the API look: "k: invalid ...".
std::string Complaint(const pb::util::Status& status) {
  // A syntax error shows the text and an arrow below it, on lines of their own.
  std::string text(status.message().data(), status.message().size());
  const bool syntax = text.find('\n') != std::string::npos;
  if (syntax) text = absl::StrCat("this is not JSON: ", text.substr(0, text.find('\n')));
  if (absl::StartsWith(text, ": ")) text.erase(0, 2);
  if (const size_t end = text.find("): "); absl::StartsWith(text, "(") && end != std::string::npos) {
    text = absl::StrCat(text.substr(1, end - 1), ": ", text.substr(end + 3));
  }
  return absl::StrReplaceAll(text, {{"Cannot find field.", "is no field of the message"}});
}

}  // namespace

absl::StatusOr<std::unique_ptr<const ApiMethods>> ApiMethods::Create(std::string_view descriptor_set) {
  pb::FileDescriptorSet files;
  if (!files.ParseFromArray(descriptor_set.data(), static_cast<int>(descriptor_set.size())) ||
      files.file().empty()) {
    return absl::InvalidArgumentError("not a set of descriptors");
  }
  std::unique_ptr<ApiMethods> api(new ApiMethods());
  for (const pb::FileDescriptorProto& proto : files.file()) {  // what is imported comes first
    const pb::FileDescriptor* const file = api->pool_.BuildFile(proto);
    if (file == nullptr) return absl::InvalidArgumentError(proto.name() + ": cannot be built");
    if (!absl::EndsWith(file->package(), ".v1")) continue;
    for (int s = 0; s < file->service_count(); ++s) {
      const pb::ServiceDescriptor& service = *file->service(s);
      for (int m = 0; m < service.method_count(); ++m) {
        const pb::MethodDescriptor* const method = service.method(m);
        api->methods_.emplace(
            absl::StrCat("/v1/", service.name(), "/", method->name()),
            ApiMethod{.descriptor = method,
                      .grpc_path = absl::StrCat("/", service.full_name(), "/", method->name())});
      }
    }
  }
  api->types_.reset(pb::util::NewTypeResolverForDescriptorPool(kTypePrefix, &api->pool_));
  return api;
}

const ApiMethod* ApiMethods::Find(std::string_view path) const {
  const auto found = methods_.find(path);
  return found == methods_.end() ? nullptr : &found->second;
}

absl::StatusOr<std::string> ApiMethods::ToWire(const ApiMethod& method, std::string_view json) const {
  std::string wire;
  if (json.find_first_not_of(" \t\r\n") == std::string_view::npos) return wire;
  const pb::util::Status status =
      pb::util::JsonToBinaryString(types_.get(), TypeUrl(*method.descriptor->input_type()),
                                   pb::StringPiece(json.data(), json.size()), &wire);
  if (!status.ok()) return absl::InvalidArgumentError(Complaint(status));
  return wire;
}

absl::StatusOr<std::string> ApiMethods::ToJson(const ApiMethod& method, const std::string& wire) const {
  pb::util::JsonPrintOptions options;
  options.always_print_primitive_fields = true;
  std::string json;
  const pb::util::Status status = pb::util::BinaryToJsonString(
      types_.get(), TypeUrl(*method.descriptor->output_type()), wire, &json, options);
  if (!status.ok()) return absl::InternalError("the answer cannot be written as JSON: " + status.ToString());
  return json;
}

}  // namespace swiftlet
