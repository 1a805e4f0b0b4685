#include "engine/trainer/report.h"

#include "absl/strings/str_cat.h"
#include "engine/trainer/report_plots.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace swiftlet {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

NamedResult Result(const std::string& name, double ndcg, bool is_validation = false) {
  NamedResult named;
  named.name = name;
  named.is_validation = is_validation;
  EvaluationResult& result = named.result;
  result.num_users = 40;
  result.history_lengths.assign(40, 7);
  result.users[10].assign(40, {.recall = ndcg, .ndcg = ndcg, .hit_rate = ndcg});
  result.at[10] = {.recall = ndcg, .ndcg = ndcg, .hit_rate = ndcg, .coverage = ndcg / 2};
  for (uint32_t u = 0; u < 40; ++u) result.targets.push_back({.user = u, .rank = 1, .num_training_users = 9});
  return named;
}

TEST(ReportTest, HoldsEveryFigureAndNothingFromElsewhere) {
  std::vector<NamedResult> results = {Result("<first>", 0.125), Result("second & last", 0.25),
                                      Result("<first> (validation)", 0.5, true)};
  results[0].train_seconds = 3;
  results[1].train_seconds = 300;
  results[0].curve = {{1.5, 1, 0.1}, {3, 2, 0.125}};
  const std::vector<Analysis> analyses = Analyse(results, {.replicates = 50});
  Report report;
  report.title = "T";
  report.results = results;
  report.analyses = analyses;
  report.example_names = {"<first>", "second & last"};
  ExampleUser user;
  user.user_id = "u\xff<";
  user.history = {"Old \"film\""};
  user.num_events = 1;
  user.targets = {{.label = "Wanted"}};
  user.lists = {{{"Wanted", true}, {"Other", false}}, {{"Other", false}}};
  report.examples = {user};
  const std::string html = ReportHtml(report);
  EXPECT_THAT(html, AllOf(HasSubstr("&lt;first&gt;"), HasSubstr("second &amp; last"), HasSubstr("0.1250"),
                          HasSubstr("0.2500"), HasSubstr("0.5000"), HasSubstr("u\uFFFD&lt;"),
                          HasSubstr("Old &quot;film&quot;"), HasSubstr("<li class='hit'>Wanted"),
                          HasSubstr("Quality while training"), HasSubstr("5.0 min")));
  // One page: no script, no link, no address.
  EXPECT_THAT(html, AllOf(Not(HasSubstr("<first>")), Not(HasSubstr("<script")), Not(HasSubstr("http")),
                          Not(HasSubstr("src=")), Not(HasSubstr("url(")), Not(HasSubstr("<link"))));
  EXPECT_THAT(html,
              AllOf(HasSubstr("prefers-color-scheme:dark"), HasSubstr("role='img'"), HasSubstr("lang='en'")));
  for (const char* nothing : {"nan", "inf'", "-nan"}) EXPECT_THAT(html, Not(HasSubstr(nothing)));

  // The difference to the first one is there, and not for validation.
  EXPECT_TRUE(analyses[0].differences.empty());
  EXPECT_TRUE(analyses[2].differences.empty());
  EXPECT_NEAR(analyses[1].differences.at(10)[2].interval.mean, 0.125, 1e-12);
  const auto json = nlohmann::json::parse(ResultsToJson(results, analyses));
  EXPECT_EQ(json["results"][1]["difference_to_first"]["ndcg@10"]["mean"], 0.125);
  EXPECT_EQ(json["results"][0]["intervals"]["ndcg@10"][0], 0.125);
  EXPECT_EQ(json["results"][0]["by_history_length"]["10"][0]["cohort"], "5-9");
  EXPECT_EQ(json["results"][0]["curve"][1]["epoch"], 2);
  EXPECT_THAT(FormatResults(results), HasSubstr("second & last"));
  EXPECT_THAT(FormatDetails(results, analyses), HasSubstr("+0.1250 (+0.1250 to +0.1250)"));
}

TEST(ReportTest, TextThatIsNotUtf8IsReplaced) {
  EXPECT_EQ(EscapeHtml("a\xc3\xa9\xe2\x82\xac"), "a\xc3\xa9\xe2\x82\xac");
  EXPECT_EQ(EscapeHtml("\xc3"), "\uFFFD");
  EXPECT_EQ(EscapeHtml("\xed\xa0\x80"), "\uFFFD\uFFFD\uFFFD");  // a surrogate
  EXPECT_EQ(EscapeHtml("\xc0\xaf\x01"), "\uFFFD\uFFFD\uFFFD");
}

TEST(ReportTest, PlotsOfOddValuesAreStillPlots) {
  const std::vector<Bar> zeros = {{"none", 0, {0, 0, 0}}};
  EXPECT_THAT(BarPlot("t", zeros), AllOf(HasSubstr("</svg>"), Not(HasSubstr("nan"))));
  const std::vector<Series> one = {{.name = "s", .points = {{2, 0}}, .labelled = true}};
  EXPECT_THAT(XyPlot("t", {.label = "x", .logarithmic = true}, {.label = "y", .from_zero = false}, one),
              AllOf(HasSubstr("</svg>"), Not(HasSubstr("nan"))));
  EXPECT_THAT(XyPlot("t", {.label = "x"}, {.label = "y"}, {}), HasSubstr("nothing to show"));
}

}  // namespace
}  // namespace swiftlet
