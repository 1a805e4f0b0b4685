#include "server/logging.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "spdlog/details/log_msg.h"

namespace swiftlet {
namespace {

TEST(JsonFormatter, IsOneObjectALineWhateverTheMessageHolds) {
  for (const std::string& text : {std::string("plain"), std::string("a \"quote\"\nand a line"),
                                  std::string("\xff\xfe not UTF-8"), std::string("nul \0 byte", 10)}) {
    const spdlog::details::log_msg message("logger", spdlog::level::warn, text);
    spdlog::memory_buf_t out;
    MakeJsonFormatter()->format(message, out);
    const std::string line(out.data(), out.size());
    EXPECT_EQ(line.find('\n'), line.size() - 1);
    const nlohmann::json object = nlohmann::json::parse(line, nullptr, false);
    ASSERT_TRUE(object.is_object()) << line;
    EXPECT_EQ(object["level"], "warning");
    if (text.find('\xff') == std::string::npos) {
      EXPECT_EQ(object["message"], text);
    }
  }
}

}  // namespace
}  // namespace swiftlet
