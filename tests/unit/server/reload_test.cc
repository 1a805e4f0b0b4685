#include "server/reload.h"

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace swiftlet {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

v1::ServerConfig Config(const std::string& text) {
  v1::ServerConfig config;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &config)) << text;
  return config;
}

TEST(ChangedFieldsTest, AreNamedByTheirPaths) {
  const auto changed = [](const std::string& before, const std::string& after) {
    return ChangedFields(Config(before), Config(after));
  };
  EXPECT_THAT(changed("", ""), IsEmpty());
  EXPECT_THAT(changed("limits {}", ""), IsEmpty());
  EXPECT_THAT(changed("", "log { level: 'warn' format: 'json' }"), ElementsAre("log.format", "log.level"));
  EXPECT_THAT(changed("limits { max_k: 5 }", "listen_address: 'x'"),
              ElementsAre("listen_address", "limits.max_k"));
  EXPECT_THAT(changed("storage { sync_writes: true }", "storage { sync_writes: false }"),
              ElementsAre("storage.sync_writes"));
  // A repeated field is one, whatever differs in it.
  EXPECT_THAT(changed("limits { methods { method: 'a' } methods { method: 'b' } }",
                      "limits { methods { method: 'c' } methods { method: 'b' max_concurrent: 1 } }"),
              ElementsAre("limits.methods"));
  EXPECT_THAT(changed("", "security { rate_limit { calls_per_second: 5 burst: 1 } }"),
              ElementsAre("security.rate_limit.calls_per_second", "security.rate_limit.burst"));
}

TEST(ReloadableTest, FieldsAndWhatIsInMessages) {
  EXPECT_TRUE(IsReloadable("log.level"));
  EXPECT_TRUE(IsReloadable("backup.keep"));
  EXPECT_TRUE(IsReloadable("security.rate_limit.burst"));
  EXPECT_FALSE(IsReloadable("security.rate_limit_other"));
  EXPECT_FALSE(IsReloadable("log.format"));
  EXPECT_FALSE(IsReloadable("log"));
  EXPECT_FALSE(IsReloadable("listen_address"));
}

// "Message.field" -> the comment above it, of config.proto.
std::map<std::string, std::string> Comments() {
  std::ifstream file(absl::StrCat(SWIFTLET_SOURCE_DIR, "/proto/swiftlet/v1/config.proto"));
  std::map<std::string, std::string> comments;
  std::string message, comment;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::vector<std::string> word;
    for (std::string w; words >> w;) word.push_back(w);
    if (!word.empty() && word[0].starts_with("//")) {
      comment += line;
      continue;
    }
    if (word.size() >= 2 && word[0] == "message") message = word[1];
    for (size_t i = 1; i + 1 < word.size(); ++i) {
      if (word[i + 1] == "=") comments[absl::StrCat(message, ".", word[i])] = comment;
    }
    comment.clear();
  }
  return comments;
}

void Compare(const Descriptor& message, const std::string& path,
             const std::map<std::string, std::string>& comments, std::set<std::string>& reloaded) {
  for (int i = 0; i < message.field_count(); ++i) {
    const FieldDescriptor& field = *message.field(i);
    const std::string here = path.empty() ? field.name() : absl::StrCat(path, ".", field.name());
    const auto comment = comments.find(absl::StrCat(message.name(), ".", field.name()));
    ASSERT_NE(comment, comments.end()) << here;
    const bool says = comment->second.ends_with("(Reloaded.)");
    EXPECT_EQ(says, IsReloadable(here)) << here << ":" << comment->second;
    if (says) reloaded.insert(here);
    // A message that is taken up is so as a whole.
    if (!says && field.message_type() != nullptr && !field.is_repeated()) {
      Compare(*field.message_type(), here, comments, reloaded);
    }
  }
}

TEST(ReloadableTest, IsWhatTheCommentsSay) {
  std::set<std::string> reloaded;
  Compare(*v1::ServerConfig::descriptor(), "", Comments(), reloaded);
  EXPECT_GE(reloaded.size(), 10u);
}

}  // namespace
}  // namespace swiftlet
