#include "server/http/openapi.h"

#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace swiftlet {
namespace {

namespace pb = google::protobuf;
using Json = nlohmann::ordered_json;

// Lines of comments are broken about here.
constexpr size_t kFullLine = 85;

// The comment before something in its .proto file, with its lines of prose put together; tables stay as they
// are.
template <typename Descriptor>
std::string Comment(const Descriptor& descriptor) {
  pb::SourceLocation location;
  if (!descriptor.GetSourceLocation(&location)) return "";
  const std::string& text =
      location.leading_comments.empty() ? location.trailing_comments : location.leading_comments;
  std::vector<std::string> lines;
  bool goes_on = false;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    line = absl::StripTrailingAsciiWhitespace(absl::StripPrefix(line, " "));
    const bool prose = !line.empty() && line.front() != ' ';
    if (goes_on && prose) {
      absl::StrAppend(&lines.back(), " ", line);
    } else {
      lines.emplace_back(line);
    }
    goes_on = prose && line.size() >= kFullLine;
  }
  return std::string(absl::StripAsciiWhitespace(absl::StrJoin(lines, "\n")));
}

// "RecommendRequest"; "Item.Status" for what is declared within a message.
template <typename Descriptor>
std::string SchemaName(const Descriptor& descriptor) {
  return descriptor.full_name().substr(descriptor.file()->package().size() + 1);
}

Json Reference(const std::string& name) { return {{"$ref", "#/components/schemas/" + name}}; }

class Schemas {
 public:
  explicit Schemas(Json* schemas) : schemas_(*schemas) {}

  Json OfMessage(const pb::Descriptor& message) {
    const std::string name = SchemaName(message);
    if (!done_.insert(name).second) return Reference(name);
    Json schema = {{"type", "object"}};
    if (std::string text = Comment(message); !text.empty()) schema["description"] = std::move(text);
    Json properties = Json::object();
    for (int f = 0; f < message.field_count(); ++f) {
      properties[message.field(f)->json_name()] = OfField(*message.field(f));
    }
    schema["properties"] = std::move(properties);
    schemas_[name] = std::move(schema);
    return Reference(name);
  }

 private:
  Json OfEnum(const pb::EnumDescriptor& type) {
    const std::string name = SchemaName(type);
    if (!done_.insert(name).second) return Reference(name);
    Json schema = {{"type", "string"}};
    std::string text = Comment(type);
    Json values = Json::array();
    for (int v = 0; v < type.value_count(); ++v) {
      values.push_back(type.value(v)->name());
      const std::string comment = Comment(*type.value(v));
      if (!comment.empty())
        absl::StrAppend(&text, text.empty() ? "" : "\n", type.value(v)->name(), ": ", comment);
    }
    if (!text.empty()) schema["description"] = std::move(text);
    schema["enum"] = std::move(values);
    schemas_[name] = std::move(schema);
    return Reference(name);
  }

  // Of one value, by the JSON mapping of proto3.
  Json OfValue(const pb::FieldDescriptor& field) {
    switch (field.cpp_type()) {
      case pb::FieldDescriptor::CPPTYPE_INT32:
      case pb::FieldDescriptor::CPPTYPE_UINT32:
        return {{"type", "integer"}, {"format", "int32"}};
      case pb::FieldDescriptor::CPPTYPE_INT64:
      case pb::FieldDescriptor::CPPTYPE_UINT64:
        return {{"type", "string"}, {"format", "int64"}};  // which JavaScript's numbers do not hold
      case pb::FieldDescriptor::CPPTYPE_FLOAT:
        return {{"type", "number"}, {"format", "float"}};
      case pb::FieldDescriptor::CPPTYPE_DOUBLE:
        return {{"type", "number"}, {"format", "double"}};
      case pb::FieldDescriptor::CPPTYPE_BOOL:
        return {{"type", "boolean"}};
      case pb::FieldDescriptor::CPPTYPE_ENUM:
        return OfEnum(*field.enum_type());
      case pb::FieldDescriptor::CPPTYPE_MESSAGE:
        return OfMessage(*field.message_type());
      case pb::FieldDescriptor::CPPTYPE_STRING:
        break;
    }
    Json schema = {{"type", "string"}};
    if (field.type() == pb::FieldDescriptor::TYPE_BYTES) schema["format"] = "byte";
    return schema;
  }

  Json OfField(const pb::FieldDescriptor& field) {
    Json schema;
    if (field.is_map()) {
      schema = {{"type", "object"}, {"additionalProperties", OfValue(*field.message_type()->map_value())}};
    } else if (field.is_repeated()) {
      schema = {{"type", "array"}, {"items", OfValue(field)}};
    } else {
      schema = OfValue(field);
    }
    std::string text = Comment(field);
    if (const pb::OneofDescriptor* oneof = field.real_containing_oneof(); oneof != nullptr) {
      std::vector<std::string> others;
      for (int f = 0; f < oneof->field_count(); ++f) {
        if (oneof->field(f) != &field) others.push_back(oneof->field(f)->json_name());
      }
      absl::StrAppend(&text, text.empty() ? "" : "\n", "Not together with ", absl::StrJoin(others, ", "),
                      ".");
    }
    if (text.empty()) return schema;
    // Beside a reference nothing counts.
    if (schema.contains("$ref")) schema = {{"allOf", Json::array({schema})}};
    schema["description"] = std::move(text);
    return schema;
  }

  Json& schemas_;
  std::set<std::string> done_;
};

Json ErrorSchema() {
  return {{"type", "object"},
          {"description", "An error, by the conventions of google.rpc."},
          {"properties",
           {{"error",
             {{"type", "object"},
              {"properties",
               {{"code", {{"type", "integer"}, {"description", "The HTTP status."}}},
                {"status", {{"type", "string"}, {"description", "The gRPC code, such as NOT_FOUND."}}},
                {"message", {{"type", "string"}}}}}}}}}};
}

}  // namespace

std::string OpenApiDocument(const ApiMethods& api, std::string_view version, bool tokens) {
  Json document = {
      {"openapi", "3.0.3"},
      {"info",
       {{"title", "Swiftlet"},
        {"version", version},
        {"description",
         "Recommendations, events, the catalogue, users and operation. Every call is a POST of a "
         "JSON object; field names may also be written as in the .proto files (user_id). Numbers "
         "of 64 bits are strings. The deadline of a call is that of the header X-Timeout-Ms, in "
         "milliseconds."}}}};
  Json tags = Json::array(), paths = Json::object(), schemas = Json::object();
  schemas["Error"] = ErrorSchema();
  Schemas builder(&schemas);
  std::set<const pb::ServiceDescriptor*> services;
  for (const auto& [path, method] : api.methods()) {
    if (!method.offered()) continue;
    const pb::MethodDescriptor& descriptor = *method.descriptor;
    const pb::ServiceDescriptor& service = *descriptor.service();
    if (services.insert(&service).second) {
      Json tag = {{"name", service.name()}};
      if (std::string text = Comment(service); !text.empty()) tag["description"] = std::move(text);
      tags.push_back(std::move(tag));
    }
    const std::string comment = Comment(descriptor);
    const char* const answers = descriptor.server_streaming() ? "application/x-ndjson" : "application/json";
    paths[path]["post"] = {
        {"tags", Json::array({service.name()})},
        {"operationId", descriptor.name()},
        {"description",
         descriptor.server_streaming()
             ? comment + "\nOver HTTP: one message a line; after an error the last line is one, and the "
                         "connection is closed."
             : comment},
        {"parameters", Json::array({{{"name", "X-Timeout-Ms"},
                                     {"in", "header"},
                                     {"description", "The call's deadline, in milliseconds from now."},
                                     {"schema", {{"type", "integer"}, {"minimum", 1}}}}})},
        {"requestBody",
         {{"required", true},
          {"content", {{"application/json", {{"schema", builder.OfMessage(*descriptor.input_type())}}}}}}},
        {"responses",
         {{"200",
           {{"description", "The answer."},
            {"content", {{answers, {{"schema", builder.OfMessage(*descriptor.output_type())}}}}}}},
          {"default",
           {{"description", "An error."},
            {"content", {{"application/json", {{"schema", Reference("Error")}}}}}}}}}};
  }
  document["tags"] = std::move(tags);
  document["paths"] = std::move(paths);
  document["components"]["schemas"] = std::move(schemas);
  if (tokens) {
    document["components"]["securitySchemes"]["token"] = {{"type", "http"}, {"scheme", "bearer"}};
    document["security"] = Json::array({{{"token", Json::array()}}});
  }
  return document.dump(2, ' ', false, Json::error_handler_t::replace);
}

}  // namespace swiftlet
