#include "engine/trainer/results.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "nlohmann/json.hpp"

namespace swiftlet {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kRecall = 0, kNdcg = 2;

Json ToJson(const std::vector<Cohort>& cohorts) {
  Json list = Json::array();
  for (const Cohort& c : cohorts) {
    list.push_back({{"cohort", c.name}, {"count", c.count}, {"recall", c.recall}, {"ndcg", c.ndcg}});
  }
  return list;
}

std::string KeyAt(std::string_view name, uint32_t k) { return absl::StrCat(std::string(name), "@", k); }

}  // namespace

std::vector<Analysis> Analyse(std::span<const NamedResult> results, const BootstrapOptions& options) {
  std::vector<Analysis> analyses;
  for (const NamedResult& named : results) {
    Analysis& analysis = analyses.emplace_back();
    for (const auto& [k, users] : named.result.users) {
      analysis.intervals[k] = BootstrapMeans(users, options);
      if (&named != &results.front() && !named.is_validation && !results.front().is_validation) {
        analysis.differences[k] = BootstrapDifferences(users, results.front().result.users.at(k), options);
      }
      analysis.by_history[k] = CohortsByHistory(named.result, k);
      analysis.by_popularity[k] = CohortsByPopularity(named.result, k);
    }
  }
  return analyses;
}

std::string FormatResults(std::span<const NamedResult> results) {
  size_t width = 24;
  for (const NamedResult& named : results) width = std::max(width, named.name.size());
  const int w = static_cast<int>(width);
  std::string table = absl::StrFormat("%-*s %4s %9s %11s %9s %9s %9s %9s\n", w, "ranker", "k", "recall@k",
                                      "precision@k", "ndcg@k", "hr@k", "mrr@k", "map@k");
  for (const NamedResult& named : results) {
    for (const auto& [k, m] : named.result.at) {
      absl::StrAppend(&table,
                      absl::StrFormat("%-*s %4d %9.4f %11.4f %9.4f %9.4f %9.4f %9.4f\n", w, named.name, k,
                                      m.recall, m.precision, m.ndcg, m.hit_rate, m.mrr, m.map));
    }
    for (const auto& [name, value] : named.result.extra) {
      absl::StrAppend(&table, absl::StrFormat("%-*s %s %.4f\n", w, named.name, name, value));
    }
  }
  return table;
}

std::string FormatDetails(std::span<const NamedResult> results, std::span<const Analysis> analyses) {
  size_t width = 24;
  for (const NamedResult& named : results) width = std::max(width, named.name.size());
  const int w = static_cast<int>(width);
  std::string text =
      absl::StrFormat("%-*s %4s %10s %9s %11s %8s  %-21s %-21s\n", w, "ranker", "k", "coverage@k",
                      "novelty@k", "diversity@k", "gini@k", "recall@k, 95 %", "ndcg@k, 95 %");
  for (size_t r = 0; r < results.size(); ++r) {
    for (const auto& [k, m] : results[r].result.at) {
      const Interval &recall = analyses[r].intervals.at(k)[kRecall],
                     &ndcg = analyses[r].intervals.at(k)[kNdcg];
      absl::StrAppend(
          &text, absl::StrFormat("%-*s %4d %10.4f %9.3f %11.4f %8.4f  %.4f to %.4f      %.4f to %.4f\n", w,
                                 results[r].name, k, m.coverage, m.novelty, m.diversity, m.gini, recall.low,
                                 recall.high, ndcg.low, ndcg.high));
    }
  }
  bool any = false;
  for (size_t r = 0; r < results.size(); ++r) {
    for (const auto& [k, differences] : analyses[r].differences) {
      if (!any) {
        absl::StrAppend(&text, absl::StrFormat("%-*s %4s %-34s %-34s\n", w,
                                               absl::StrCat("against ", results.front().name), "k",
                                               "recall@k, 95 %, p", "ndcg@k, 95 %, p"));
        any = true;
      }
      std::string line = absl::StrFormat("%-*s %4d", w, results[r].name, k);
      for (const size_t m : {kRecall, kNdcg}) {
        const Difference& d = differences[m];
        absl::StrAppend(
            &line, absl::StrFormat(" %-34s", absl::StrFormat("%+.4f (%+.4f to %+.4f) %.3f", d.interval.mean,
                                                             d.interval.low, d.interval.high, d.p_value)));
      }
      while (line.ends_with(' ')) line.pop_back();
      absl::StrAppend(&text, line, "\n");
    }
  }
  return text;
}

std::string ResultsToJson(std::span<const NamedResult> results, std::span<const Analysis> analyses,
                          const Provenance& provenance) {
  Json json;
  json["run"] = {{"data", provenance.data},
                 {"split", provenance.split},
                 {"training_fingerprint", provenance.fingerprint},
                 {"items_fingerprint", provenance.items_fingerprint},
                 {"seed", provenance.seed},
                 {"threads", provenance.threads},
                 {"flags", provenance.flags}};
  for (size_t r = 0; r < results.size(); ++r) {
    const NamedResult& named = results[r];
    Json entry{{"ranker", named.name},
               {"num_users", named.result.num_users},
               {"num_users_without_history", named.result.num_without_history},
               {"evaluation_seconds", named.result.seconds}};
    if (named.train_seconds > 0) entry["train_seconds"] = named.train_seconds;
    if (named.epochs > 0) entry["epochs"] = named.epochs;
    if (!named.parameters.empty()) entry["parameters"] = named.parameters;
    for (const CurvePoint& point : named.curve) {
      entry["curve"].push_back({{"seconds", point.seconds},
                                {"epoch", point.epoch},
                                {"validation_ndcg@10", point.validation_ndcg}});
    }
    for (const auto& [name, value] : ResultsToMetrics(named.result, "")) entry["metrics"][name] = value;
    const Analysis& a = analyses[r];
    for (const auto& [k, intervals] : a.intervals) {
      for (size_t m = 0; m < kNumUserMetrics; ++m) {
        entry["intervals"][KeyAt(kMetricFields[m].name, k)] = {intervals[m].low, intervals[m].high};
      }
    }
    for (const auto& [k, differences] : a.differences) {
      for (size_t m = 0; m < kNumUserMetrics; ++m) {
        const Difference& d = differences[m];
        entry["difference_to_first"][KeyAt(kMetricFields[m].name, k)] = {
            {"mean", d.interval.mean}, {"low", d.interval.low}, {"high", d.interval.high}, {"p", d.p_value}};
      }
    }
    for (const auto& [k, cohorts] : a.by_history)
      entry["by_history_length"][absl::StrCat(k)] = ToJson(cohorts);
    for (const auto& [k, cohorts] : a.by_popularity) {
      entry["by_target_popularity"][absl::StrCat(k)] = ToJson(cohorts);
    }
    json["results"].push_back(std::move(entry));
  }
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace swiftlet
