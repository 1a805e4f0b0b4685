// The API as its descriptors tell it: which methods there are, where they are over HTTP, and their messages
// between JSON and the wire form. A new method or service is in it by itself.
//
//   SWIFTLET_ASSIGN_OR_RETURN(auto api, ApiMethods::Create(Embedded("api.descriptors")));
//   const ApiMethod* method = api->Find("/v1/RecommendationService/Recommend");
//   SWIFTLET_ASSIGN_OR_RETURN(std::string bytes, api->ToWire(*method, "{\"userId\": \"u1\", \"k\": 10}"));
#ifndef SWIFTLET_SERVER_HTTP_API_METHODS_H_
#define SWIFTLET_SERVER_HTTP_API_METHODS_H_

#include <google/protobuf/descriptor.h>
#include <google/protobuf/util/type_resolver.h>

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace swiftlet {

struct ApiMethod {
  const google::protobuf::MethodDescriptor* descriptor;
  std::string grpc_path;  // "/swiftlet.v1.RecommendationService/Recommend"
  // One answer to one request, or several. Other methods are not offered over HTTP.
  bool offered() const { return !descriptor->client_streaming(); }
};

// Immutable.
class ApiMethods {
 public:
  // Of a FileDescriptorSet with comments. INVALID_ARGUMENT when it is none.
  static absl::StatusOr<std::unique_ptr<const ApiMethods>> Create(std::string_view descriptor_set);

  // By path, "/v1/SERVICE/METHOD": of every service of a package that ends with ".v1".
  const std::map<std::string, ApiMethod, std::less<>>& methods() const { return methods_; }
  const ApiMethod* Find(std::string_view path) const;

  // A request in JSON, in its wire form. No text at all is an empty message. INVALID_ARGUMENT, naming the
  // field where it is one's fault, for what is no such message.
  absl::StatusOr<std::string> ToWire(const ApiMethod& method, std::string_view json) const;
  // An answer in its wire form, in JSON, on one line, with the fields that have their default value.
  absl::StatusOr<std::string> ToJson(const ApiMethod& method, const std::string& wire) const;

 private:
  ApiMethods() = default;

  google::protobuf::DescriptorPool pool_;
  std::unique_ptr<google::protobuf::util::TypeResolver> types_;
  std::map<std::string, ApiMethod, std::less<>> methods_;
};

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_HTTP_API_METHODS_H_
