#include "engine/trainer/report.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/trainer/progress.h"
#include "engine/trainer/report_plots.h"

namespace swiftlet {
namespace {

constexpr size_t kRecall = 0, kNdcg = 2, kHitRate = 3;
constexpr uint64_t kTooFew = 20;  // cohorts below are not drawn
constexpr uint64_t kFew = 100;    // those below are drawn hollow

constexpr const char* kStyle = R"css(
:root{color-scheme:light dark;--page:#f5f6f8;--card:#fff;--ink:#1b1f27;--soft:#5a6372;--rule:#dfe3ea;--hit:#e3f4e8;--hitink:#11663a;
--s0:#2f6fde;--s1:#d9560b;--s2:#0d8a6a;--s3:#8a46c4;--s4:#c2255c;--s5:#8a7300;--s6:#0b7ea3;--s7:#7b828e}
@media(prefers-color-scheme:dark){:root{--page:#12151b;--card:#1b1f27;--ink:#e8eaef;--soft:#a2abba;--rule:#333a46;--hit:#173c29;--hitink:#86dfab;
--s0:#79a7ff;--s1:#ff9a5a;--s2:#4fd0ae;--s3:#c79bf2;--s4:#ff85b3;--s5:#d8c454;--s6:#5fc9ea;--s7:#a3abb8}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:1200px;margin:0 auto;padding:2.2rem 1.2rem 4rem}
h1{font-size:1.9rem;line-height:1.2;margin:0 0 .4rem;letter-spacing:-.01em}
h2{font-size:1.25rem;margin:2.6rem 0 .2rem}
h3{font-size:1rem;margin:0 0 .5rem}
p{margin:.2rem 0 .9rem;max-width:52rem}
.soft,.lead{color:var(--soft)}
.lead{font-size:1.05rem}
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,29rem),1fr));gap:1rem}
.card{background:var(--card);border:1px solid var(--rule);border-radius:12px;padding:1.1rem 1.2rem}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(13rem,1fr));gap:1rem;margin-top:1.4rem}
.tile b{display:block;font-size:1.7rem;line-height:1.25;font-variant-numeric:tabular-nums}
.tile span{color:var(--soft);font-size:.9rem}
svg{display:block;width:100%;height:auto;overflow:visible}
svg text{fill:currentColor;font-size:12.5px}
svg .tick{fill:var(--soft);font-size:11.5px}
svg .label{fill:var(--soft)}
svg .name{fill:var(--name,currentColor);font-weight:600}
svg .value{font-weight:600;font-variant-numeric:tabular-nums}
svg .grid{display:inline;stroke:var(--rule)}
svg .axis{stroke:var(--soft)}
svg .whisker{stroke:var(--ink);stroke-width:1.5}
svg .line{fill:none;stroke-width:2;stroke-linejoin:round}
svg .m{stroke-width:1.8}
.legend{display:flex;flex-wrap:wrap;gap:.2rem 1.1rem;margin:.2rem 0 .9rem;padding:0;list-style:none;font-size:.92rem}
.legend li{display:flex;align-items:center;gap:.4rem}
svg.key{width:14px;height:14px;flex:none}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.92rem;font-variant-numeric:tabular-nums}
th,td{padding:.42rem .65rem;text-align:right;border-bottom:1px solid var(--rule);white-space:nowrap}
th{color:var(--soft);font-weight:600}
th:first-child,td:first-child{text-align:left}
tr:last-child td{border-bottom:0}
td.best{font-weight:700}
.yes{color:var(--s2);font-weight:600}.no{color:var(--s4);font-weight:600}
.user{margin-top:1rem}
.lists{display:grid;grid-template-columns:repeat(auto-fit,minmax(14rem,1fr));gap:1.2rem;margin-top:.4rem}
.lists h4{margin:0 0 .3rem;font-size:.9rem;display:flex;gap:.4rem;align-items:center}
.lists ol{margin:0;padding-left:1.5rem;font-size:.9rem}
.lists li{padding:.08rem .3rem;overflow-wrap:anywhere}
.lists li::marker{color:var(--soft)}
li.hit{background:var(--hit);color:var(--hitink);border-radius:5px;font-weight:600}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.3rem 1rem;font-size:.92rem;margin:.6rem 0 0}
dt{font-weight:600}dd{margin:0;color:var(--soft)}
@media print{body{background:#fff}.card{break-inside:avoid}}
)css";

std::string Number(double value) { return absl::StrFormat("%.4f", value); }

std::string Seconds(double seconds) {
  if (seconds <= 0) return "\u2013";
  if (seconds < 120) return absl::StrFormat("%.1f s", seconds);
  return absl::StrFormat("%.1f min", seconds / 60);
}

class Writer {
 public:
  explicit Writer(const Report& report) : report_(report) {
    for (size_t r = 0; r < report.results.size(); ++r) {
      if (!report.results[r].is_validation) tested_.push_back(r);
    }
    for (size_t i = 0; i < tested_.size(); ++i) {
      // What is popular is the last style, grey, wherever there are enough styles.
      const bool last = i + 1 == tested_.size() && i < kNumPlotStyles;
      styles_.push_back(last ? kNumPlotStyles - 1 : i % (kNumPlotStyles - 1));
    }
  }

  std::string Write() {
    absl::StrAppend(&html_, "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>",
                    "<meta name='viewport' content='width=device-width,initial-scale=1'><title>",
                    EscapeHtml(report_.title), "</title><style>", kStyle,
                    "</style></head>\n<body><main>\n<header><h1>", EscapeHtml(report_.title),
                    "</h1><p class='lead'>", EscapeHtml(report_.summary), "</p></header>\n");
    Tiles();
    Quality();
    Cohorts();
    BeyondAccuracy();
    Table();
    Examples();
    Definitions();
    absl::StrAppend(&html_, "</main></body></html>\n");
    return std::move(html_);
  }

 private:
  const NamedResult& Of(size_t i) const { return report_.results[tested_[i]]; }
  const MetricsAtK& At(size_t i) const { return Of(i).result.at.at(report_.k); }
  const Analysis& AnalysisOf(size_t i) const { return report_.analyses[tested_[i]]; }
  std::string AtK(const char* name) const { return absl::StrCat(name, "@", report_.k); }

  void Heading(const std::string& id, const std::string& text, const std::string& explanation) {
    absl::StrAppend(&html_, "<section aria-labelledby='", id, "'><h2 id='", id, "'>", EscapeHtml(text),
                    "</h2><p class='soft'>", EscapeHtml(explanation), "</p>\n");
  }
  void Legend() {
    html_ += "<ul class='legend'>";
    for (size_t i = 0; i < tested_.size(); ++i) {
      absl::StrAppend(&html_, "<li>", LegendMarker(styles_[i]), EscapeHtml(Of(i).name), "</li>");
    }
    html_ += "</ul>\n";
  }
  void Card(const std::string& title, const std::string& body) {
    absl::StrAppend(&html_, "<div class='card'><h3>", EscapeHtml(title), "</h3>", body, "</div>\n");
  }
  void Tile(const std::string& value, const std::string& what) {
    absl::StrAppend(&html_, "<div class='card tile'><b>", EscapeHtml(value), "</b><span>", EscapeHtml(what),
                    "</span></div>");
  }

  void Tiles() {
    size_t best = 0;
    for (size_t i = 0; i < tested_.size(); ++i) {
      if (At(i).ndcg > At(best).ndcg) best = i;
    }
    html_ += "<div class='tiles'>";
    Tile(Number(At(best).ndcg), absl::StrCat(AtK("NDCG"), ", the best: ", Of(best).name));
    Tile(Number(At(best).recall), absl::StrCat(AtK("Recall"), " of ", Of(best).name));
    Tile(absl::StrFormat("%.1f %%", 100 * At(best).hit_rate),
         absl::StrCat("of users get a target among their first ", report_.k));
    Tile(absl::StrFormat("%.1f %%", 100 * At(best).coverage),
         absl::StrCat("of the items are shown to someone by ", Of(best).name));
    html_ += "</div>\n";
  }

  void Quality() {
    Heading("quality", "Quality",
            absl::StrCat("Means over ", WithCommas(Of(0).result.num_users),
                         " users. A whisker is the 95 % bootstrap interval: models whose whiskers are apart "
                         "differ; where they "
                         "overlap, the paired differences in the table decide."));
    html_ += "<div class='grid'>\n";
    // With one target for each user, recall and hit rate are the same.
    bool same = true;
    for (size_t i = 0; i < tested_.size(); ++i) same &= std::fabs(At(i).recall - At(i).hit_rate) < 1e-12;
    BarCard(AtK("NDCG"), kNdcg);
    BarCard(same ? absl::StrCat(AtK("Recall"), " = ", AtK("HR")) : AtK("Recall"), kRecall);
    if (!same) BarCard(AtK("HR"), kHitRate);
    Time();
    html_ += "</div></section>\n";
  }
  void BarCard(const std::string& title, size_t metric) {
    std::vector<Bar> bars;
    for (size_t i = 0; i < tested_.size(); ++i) {
      bars.push_back({Of(i).name, styles_[i], AnalysisOf(i).intervals.at(report_.k)[metric]});
    }
    Card(title, BarPlot(title, bars));
  }

  void Time() {
    std::vector<Series> curves, points;
    for (size_t i = 0; i < tested_.size(); ++i) {
      const NamedResult& r = Of(i);
      Series curve{.name = r.name, .style = styles_[i], .points = {}, .labelled = true};
      double best = 0;
      for (const CurvePoint& p : r.curve) {
        if (p.seconds <= 0) continue;
        best = std::max(best, p.validation_ndcg);
        curve.points.push_back({p.seconds, p.validation_ndcg,
                                absl::StrFormat("%s, epoch %d: %.4f after %.1f s", r.name, p.epoch,
                                                p.validation_ndcg, p.seconds)});
      }
      if (!curve.points.empty()) curves.push_back(std::move(curve));
      if (r.train_seconds > 0) {
        points.push_back(
            {.name = r.name,
             .style = styles_[i],
             .points = {{r.train_seconds, At(i).ndcg,
                         absl::StrFormat("%s: %.4f after %.1f s", r.name, At(i).ndcg, r.train_seconds)}},
             .line = false,
             .labelled = true});
      }
    }
    if (!curves.empty()) {
      Card("Quality while training",
           XyPlot("NDCG@10 on validation against seconds of training", {.label = "seconds of training"},
                  {.label = "NDCG@10 on validation", .from_zero = false}, curves));
    }
    if (points.size() > 1) {
      Card("Quality against training time",
           XyPlot("Quality on the test against seconds of training",
                  {.label = "seconds of training, all fits", .logarithmic = true}, {.label = AtK("NDCG")},
                  points));
    }
  }

  // Lines over the cohorts of all models.
  std::string CohortPlot(const std::string& title, const std::string& label,
                         const std::map<uint32_t, std::vector<Cohort>> Analysis::*cohorts_of,
                         const char* unit) {
    Axis x{.label = label};
    std::vector<Series> series;
    for (size_t i = 0; i < tested_.size(); ++i) {
      Series s{.name = Of(i).name, .style = styles_[i], .points = {}};
      // The cohorts are those of the test, the same for all.
      std::vector<Cohort> cohorts = (AnalysisOf(i).*cohorts_of).at(report_.k);
      std::erase_if(cohorts, [](const Cohort& c) { return c.count < kTooFew; });
      for (size_t c = 0; c < cohorts.size(); ++c) {
        if (i == 0) {
          x.categories.push_back(cohorts[c].name);
          x.category_counts.push_back(WithCommas(cohorts[c].count));
        }
        s.points.push_back({static_cast<double>(c), cohorts[c].ndcg,
                            absl::StrFormat("%s, %s: %.4f (%s %s)", Of(i).name, cohorts[c].name,
                                            cohorts[c].ndcg, WithCommas(cohorts[c].count), unit),
                            cohorts[c].count < kFew});
      }
      series.push_back(std::move(s));
    }
    return XyPlot(title, x, {.label = AtK("NDCG")}, series);
  }
  void Cohorts() {
    Heading("cohorts", "For whom, and of what",
            absl::StrCat("The same lists by the length of the user's history and by how many training users "
                         "know the target. The small "
                         "numbers count users and targets; hollow markers rest on fewer than ",
                         kFew, ", and cohorts of fewer than ", kTooFew, " are left out", "."));
    Legend();
    html_ += "<div class='grid'>\n";
    Card("By history length", CohortPlot("Quality by history length", "events in the user's history",
                                         &Analysis::by_history, "users"));
    Card("By popularity of the target",
         CohortPlot("Quality by popularity of the target", "training users of the target item",
                    &Analysis::by_popularity, "targets"));
    html_ += "</div></section>\n";
  }

  Series PointOf(size_t i, double x, double y, const std::string& x_name, const std::string& y_name) {
    return {.name = Of(i).name,
            .style = styles_[i],
            .points = {{x, y, absl::StrFormat("%s: %s %.4f, %s %.4f", Of(i).name, x_name, x, y_name, y)}},
            .line = false,
            .labelled = true};
  }
  void BeyondAccuracy() {
    Heading("beyond", "Beyond accuracy",
            "A good list is not only right. Towards the top and the right, more of the catalogue is shown, "
            "and what is shown is less "
            "well known, or more varied.");
    html_ += "<div class='grid'>\n";
    std::vector<Series> novelty, diversity;
    for (size_t i = 0; i < tested_.size(); ++i) {
      novelty.push_back(PointOf(i, At(i).coverage, At(i).novelty, "coverage", "novelty"));
      diversity.push_back(PointOf(i, At(i).diversity, At(i).ndcg, "diversity", "NDCG"));
    }
    Card("Coverage and novelty",
         XyPlot("Coverage and novelty", {.label = AtK("coverage: share of the items shown to anyone, ")},
                {.label = AtK("novelty: mean self-information, bits, "), .from_zero = false}, novelty));
    Card("Quality and diversity",
         XyPlot("Quality and diversity", {.label = AtK("diversity within a list, "), .from_zero = false},
                {.label = AtK("NDCG")}, diversity));
    html_ += "</div></section>\n";
  }

  void Table() {
    Heading("figures", "All figures",
            "Bold is the best of the test at its cut-off. Rows of validation say what the models were chosen "
            "by.");
    html_ += "<div class='card scroll'><table><thead><tr><th scope='col'>model</th><th scope='col'>k</th>";
    for (const MetricField& field : kMetricFields)
      absl::StrAppend(&html_, "<th scope='col'>", std::string(field.name), "</th>");
    html_ += "<th scope='col'>training</th></tr></thead><tbody>\n";
    std::vector<uint32_t> cutoffs;
    for (const auto& [k, m] : Of(0).result.at) cutoffs.push_back(k);
    for (const uint32_t k : cutoffs) {
      for (const NamedResult& r : report_.results) {
        const MetricsAtK& m = r.result.at.at(k);
        absl::StrAppend(&html_, "<tr><td>", EscapeHtml(r.name), "</td><td>", k, "</td>");
        for (const MetricField& field : kMetricFields) {
          bool best = !r.is_validation && field.name != "gini" && tested_.size() > 1;
          for (size_t i = 0; i < tested_.size(); ++i)
            best &= m.*field.value >= Of(i).result.at.at(k).*field.value;
          absl::StrAppend(&html_, best ? "<td class='best'>" : "<td>", Number(m.*field.value), "</td>");
        }
        absl::StrAppend(&html_, "<td>", Seconds(r.train_seconds), "</td></tr>\n");
      }
    }
    html_ += "</tbody></table></div>\n";
    Extra();
    Differences();
    html_ += "</section>\n";
  }
  void Extra() {
    bool any = false;
    for (const NamedResult& r : report_.results) any |= !r.result.extra.empty();
    if (!any) return;
    html_ += "<p></p><div class='card scroll'><table><tbody>";
    for (const NamedResult& r : report_.results) {
      for (const auto& [name, value] : r.result.extra) {
        absl::StrAppend(&html_, "<tr><td>", EscapeHtml(r.name), "</td><td>", EscapeHtml(name), "</td><td>",
                        Number(value), "</td></tr>");
      }
    }
    html_ += "</tbody></table></div>\n";
  }
  void Differences() {
    if (tested_.size() < 2) return;
    absl::StrAppend(&html_, "<p class='soft' style='margin-top:1.4rem'>Against ", EscapeHtml(Of(0).name),
                    ", paired by user, with 95 % bootstrap intervals:</p><div class='card "
                    "scroll'><table><thead><tr><th scope='col'>model"
                    "</th><th scope='col'>k</th><th scope='col'>NDCG</th><th scope='col'>interval</th><th "
                    "scope='col'>p</th>"
                    "<th scope='col'>Recall</th><th scope='col'>interval</th><th "
                    "scope='col'>p</th></tr></thead><tbody>\n");
    for (size_t i = 1; i < tested_.size(); ++i) {
      for (const auto& [k, differences] : AnalysisOf(i).differences) {
        absl::StrAppend(&html_, "<tr><td>", EscapeHtml(Of(i).name), "</td><td>", k, "</td>");
        for (const size_t metric : {kNdcg, kRecall}) {
          const Difference& d = differences[metric];
          const char* css = d.interval.low > 0 ? " class='yes'" : d.interval.high < 0 ? " class='no'" : "";
          absl::StrAppend(&html_, "<td", css, ">", absl::StrFormat("%+.4f", d.interval.mean), "</td><td>",
                          absl::StrFormat("%+.4f to %+.4f", d.interval.low, d.interval.high), "</td><td>",
                          absl::StrFormat("%.3f", d.p_value), "</td>");
        }
        html_ += "</tr>\n";
      }
    }
    html_ += "</tbody></table></div>\n";
  }

  static std::string Joined(const std::vector<std::string>& labels) {
    std::string text;
    for (const std::string& label : labels) absl::StrAppend(&text, text.empty() ? "" : " \u00b7 ", label);
    return text;
  }
  void Examples() {
    if (report_.examples.empty()) return;
    Heading("examples", "Some users",
            "What each model recommends to users of the test. Half of them are drawn from users whom some "
            "model gives a target, the rest "
            "from all. A highlighted item with a tick is one that the user did go for.");
    for (const ExampleUser& user : report_.examples) {
      std::vector<std::string> targets;
      for (const ExampleItem& t : user.targets) {
        if (targets.size() == 8) {
          targets.push_back("\u2026");
          break;
        }
        targets.push_back(t.label);
      }
      absl::StrAppend(&html_, "<article class='card user'><h3>User ", EscapeHtml(user.user_id),
                      "</h3><p><span class='soft'>Newest of ", WithCommas(user.num_events),
                      user.num_events == 1 ? " event: " : " events: ", "</span>",
                      EscapeHtml(Joined(user.history)), "<br><span class='soft'>Held out: </span>",
                      EscapeHtml(Joined(targets)), "</p><div class='lists'>");
      for (size_t r = 0; r < user.lists.size(); ++r) {
        absl::StrAppend(&html_, "<div><h4>", LegendMarker(styles_[r]), EscapeHtml(report_.example_names[r]),
                        "</h4><ol>");
        for (const ExampleItem& item : user.lists[r]) {
          absl::StrAppend(&html_, item.is_target ? "<li class='hit'>" : "<li>", EscapeHtml(item.label),
                          item.is_target ? " \u2713" : "", "</li>");
        }
        html_ += "</ol></div>";
      }
      html_ += "</div></article>\n";
    }
    html_ += "</section>\n";
  }

  void Definitions() {
    Heading("definitions", "What the figures mean",
            "All lists come from the engine that serves, over a snapshot that was written and loaded.");
    html_ +=
        "<div class='card'><dl>"
        "<dt>recall</dt><dd>targets among the first k, of all targets of the user</dd>"
        "<dt>precision</dt><dd>targets among the first k, of k</dd>"
        "<dt>ndcg</dt><dd>targets weighted by 1 / log2(rank + 1), of the best that is possible</dd>"
        "<dt>hr</dt><dd>share of users with any target among the first k</dd>"
        "<dt>mrr</dt><dd>1 / rank of the first target, 0 without one</dd>"
        "<dt>map</dt><dd>average precision at the ranks of the targets, of min(k, targets)</dd>"
        "<dt>novelty</dt><dd>mean of log2(users / users of the item) over the list: 0 bits for what "
        "everybody has</dd>"
        "<dt>diversity</dt><dd>mean over the list's pairs of 1 \u2212 cosine of their training users</dd>"
        "<dt>coverage</dt><dd>share of all items that are in anyone's first k</dd>"
        "<dt>gini</dt><dd>0 when all items are shown equally often, near 1 when a few are shown to "
        "everybody</dd>"
        "</dl></div></section>\n";
  }

  const Report& report_;
  std::vector<size_t> tested_, styles_;  // results of the test; their styles
  std::string html_;
};

}  // namespace

std::string ReportHtml(const Report& report) { return Writer(report).Write(); }

}  // namespace swiftlet
