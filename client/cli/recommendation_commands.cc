// swiftlet recommend, similar, score.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/command.h"
#include "client/cli/render.h"
#include "client/cli/text.h"

namespace swiftlet::cli {
namespace {

struct FilterFlags {
  std::vector<std::string> exclude, categories, not_categories;

  void AddTo(CLI::App* command) {
    AddRepeated(command, "--exclude", exclude, "Leave out this item")->type_name("ITEM");
    AddRepeated(command, "--category", categories, "Only items of this category, or of any of those given")
        ->type_name("NAME");
    AddRepeated(command, "--not-category", not_categories, "No items of this category")->type_name("NAME");
  }
  void Fill(v1::ItemFilter& filter) const {
    filter.mutable_exclude_item_ids()->Assign(exclude.begin(), exclude.end());
    filter.mutable_any_of_categories()->Assign(categories.begin(), categories.end());
    filter.mutable_none_of_categories()->Assign(not_categories.begin(), not_categories.end());
  }
};

struct SearchFlags {
  std::string mode;
  int budget_rows = 0, budget_us = 0;

  void AddTo(CLI::App* command) {
    command->add_option("--search", mode, "exact or approximate, in place of the server's retrieval.mode")
        ->type_name("MODE")
        ->check(CLI::IsMember({"exact", "approximate"}));
    command
        ->add_option("--budget-rows", budget_rows,
                     "Stop the search after so many rows; 0: as the server does")
        ->check(WholeNumber(0));
    command->add_option("--budget-us", budget_us, "Stop it after so many microseconds; 0: as the server does")
        ->check(WholeNumber(0));
  }
  void Fill(v1::Search& search) const {
    if (mode == "exact") search.set_mode(v1::Search::MODE_EXACT);
    if (mode == "approximate") search.set_mode(v1::Search::MODE_APPROXIMATE);
    search.set_budget_rows(budget_rows);
    search.set_budget_us(budget_us);
  }
};

const char* ProofText(bool proven_exact) { return proven_exact ? "" : ", not proven exact"; }

constexpr char kHistoryHelp[] =
    "An event of an anonymous session, oldest first, in place of USER; the type is \"view\" if not given; "
    "write \\: for "
    "a colon in an id";

struct RecommendFlags {
  std::string user;
  std::vector<std::string> history, context;
  int k = 10;
  int reasons = 3;
  int64_t snapshot = 0;  // 0: what serves
  bool include_seen = false;
  bool explain = false;
  FilterFlags filter;
  SearchFlags search;
};

std::string Whom(const std::string& user) {
  return user.empty() ? "this session" : absl::StrCat("user ", Printable(user));
}

absl::StatusOr<v1::RecommendResponse> Preview(Client& client, int64_t version, v1::RecommendRequest request,
                                              const Session& session) {
  v1::PreviewSnapshotRequest preview;
  preview.set_version(version);
  *preview.mutable_request() = std::move(request);
  absl::StatusOr<v1::PreviewSnapshotResponse> answer =
      client.PreviewSnapshot(preview, session.Call(absl::Minutes(2)));
  if (!answer.ok()) return answer.status();
  return std::move(*answer->mutable_response());
}

int RunRecommend(Session& session, const RecommendFlags& flags) {
  if (flags.user.empty() == flags.history.empty()) {
    return session.Usage("recommend", "give either a USER or --history");
  }
  v1::RecommendRequest request;
  if (flags.history.empty()) {
    request.set_user_id(flags.user);
  } else if (absl::Status status = ParseHistory(flags.history, *request.mutable_history()); !status.ok()) {
    return session.Usage("recommend", std::string(status.message()));
  }
  request.set_k(flags.k);
  flags.filter.Fill(*request.mutable_filter());
  flags.search.Fill(*request.mutable_search());
  request.set_exclude_seen(!flags.include_seen);
  request.mutable_context()->mutable_item_ids()->Assign(flags.context.begin(), flags.context.end());
  request.set_explain(flags.explain);
  request.set_include_metadata(true);

  const std::unique_ptr<Client> client = session.Connect("recommend");
  if (client == nullptr) return kFailed;
  const absl::StatusOr<v1::RecommendResponse> answer =
      flags.snapshot == 0 ? client->Recommend(request, session.Call())
                          : Preview(*client, flags.snapshot, std::move(request), session);
  if (!answer.ok()) return session.Fail("recommend", answer.status());
  if (session.json) return session.PrintJson(*answer);
  session.io.out << Count(answer->items_size(), "recommendation") << " for " << Whom(flags.user)
                 << " (snapshot " << answer->snapshot_version() << ", "
                 << Count(answer->num_history_events_used(), "event") << " used"
                 << ProofText(answer->proven_exact()) << ")\n";
  if (answer->items_size() == 0) {
    session.io.out << "No item passes the filter.\n";
    return kOk;
  }
  session.io.out << "\n";
  PrintItems(answer->items(), {.max_reasons = flags.reasons, .bold_header = session.io.out_is_terminal},
             session.io.out);
  return kOk;
}

struct SimilarFlags {
  std::string item;
  int k = 10;
  FilterFlags filter;
  SearchFlags search;
};

int RunSimilar(Session& session, const SimilarFlags& flags) {
  v1::SimilarItemsRequest request;
  request.set_item_id(flags.item);
  request.set_k(flags.k);
  flags.filter.Fill(*request.mutable_filter());
  flags.search.Fill(*request.mutable_search());
  request.set_include_metadata(true);
  const std::unique_ptr<Client> client = session.Connect("similar");
  if (client == nullptr) return kFailed;
  const absl::StatusOr<v1::SimilarItemsResponse> answer = client->SimilarItems(request, session.Call());
  if (!answer.ok()) return session.Fail("similar", answer.status());
  if (session.json) return session.PrintJson(*answer);
  session.io.out << Count(answer->items_size(), "item") << " similar to " << Printable(flags.item)
                 << " (snapshot " << answer->snapshot_version() << ProofText(answer->proven_exact())
                 << ")\n\n";
  PrintItems(answer->items(),
             {.show_source = false, .score_header = "Cosine", .bold_header = session.io.out_is_terminal},
             session.io.out);
  return kOk;
}

struct ScoreFlags {
  std::vector<std::string> user_and_items;
  std::vector<std::string> history, context;
  int reasons = 3;
  bool explain = false;
};

// Sets user or history, and the items, from "[USER] ITEM.."; without a history the first is the user.
template <typename Request>
absl::Status SetUserAndItems(const std::vector<std::string>& user_and_items,
                             const std::vector<std::string>& history, Request& request) {
  const ptrdiff_t num_users = history.empty() ? 1 : 0;
  if (user_and_items.size() < static_cast<size_t>(num_users) + 1) {
    return absl::InvalidArgumentError(num_users == 1 ? "give a USER (or --history) and at least one ITEM"
                                                     : "give at least one ITEM");
  }
  request.mutable_item_ids()->Assign(user_and_items.begin() + num_users, user_and_items.end());
  if (num_users == 0) return ParseHistory(history, *request.mutable_history());
  request.set_user_id(user_and_items[0]);
  return absl::OkStatus();
}

int RunScore(Session& session, const ScoreFlags& flags) {
  v1::ScoreItemsRequest request;
  if (absl::Status status = SetUserAndItems(flags.user_and_items, flags.history, request); !status.ok()) {
    return session.Usage("score", std::string(status.message()));
  }
  request.mutable_context()->mutable_item_ids()->Assign(flags.context.begin(), flags.context.end());
  request.set_explain(flags.explain);
  request.set_include_metadata(true);
  const std::unique_ptr<Client> client = session.Connect("score");
  if (client == nullptr) return kFailed;
  const absl::StatusOr<v1::ScoreItemsResponse> answer = client->ScoreItems(request, session.Call());
  if (!answer.ok()) return session.Fail("score", answer.status());
  if (session.json) return session.PrintJson(*answer);
  session.io.out << Count(answer->items_size(), "item") << " scored for " << Whom(request.user_id())
                 << " (snapshot " << answer->snapshot_version() << ")\n\n";
  PrintItems(answer->items(), {.max_reasons = flags.reasons, .bold_header = session.io.out_is_terminal},
             session.io.out);
  if (answer->unknown_item_ids_size() > 0) {
    session.io.out << "\nWithout a vector, not scored: "
                   << Printable(absl::StrJoin(answer->unknown_item_ids(), ", ")) << "\n";
  }
  return kOk;
}

struct PredictFlags {
  std::vector<std::string> user_and_items;
  std::vector<std::string> history;
};

int RunPredict(Session& session, const PredictFlags& flags) {
  v1::PredictRequest request;
  if (absl::Status status = SetUserAndItems(flags.user_and_items, flags.history, request); !status.ok()) {
    return session.Usage("predict", std::string(status.message()));
  }
  request.set_include_metadata(true);
  const std::unique_ptr<Client> client = session.Connect("predict");
  if (client == nullptr) return kFailed;
  const absl::StatusOr<v1::PredictResponse> answer = client->Predict(request, session.Call());
  if (!answer.ok()) return session.Fail("predict", answer.status());
  if (session.json) return session.PrintJson(*answer);
  session.io.out << Count(answer->ratings_size(), "rating") << " predicted for " << Whom(request.user_id())
                 << " from " << Count(answer->num_ratings_used(), "rating") << " of theirs (snapshot "
                 << answer->snapshot_version() << ", scale "
                 << absl::StrCat(answer->min_rating(), " to ", answer->max_rating()) << ")\n\n";
  PrintRatings(answer->ratings(), session.io.out_is_terminal, session.io.out);
  return kOk;
}

}  // namespace

void AddRecommendationCommands(CLI::App& app, Session& session) {
  const auto recommend_flags = std::make_shared<RecommendFlags>();
  CLI::App* recommend =
      AddCommand(app, session, "recommend", "The best items for a user, or for an anonymous session",
                 "  swiftlet recommend 42 -k 5 --explain --not-category Horror\n"
                 "  swiftlet recommend --history 318 --history 296:rating:5   # nothing is stored\n"
                 "  swiftlet recommend 42 --snapshot 7                      # a version that does not serve",
                 [&session, recommend_flags] { return RunRecommend(session, *recommend_flags); });
  recommend->add_option("user", recommend_flags->user, "The user's id")->type_name("USER");
  recommend->add_option("-k", recommend_flags->k, "How many items");
  recommend->add_option("--history", recommend_flags->history, kHistoryHelp)
      ->type_name("ITEM[:TYPE[:VALUE]]")
      ->default_str("");
  recommend
      ->add_option(
          "--snapshot", recommend_flags->snapshot,
          "What this version of `swiftlet snapshot list` would recommend, before it serves (role admin)")
      ->check(WholeNumber(1))
      ->type_name("VERSION")
      ->default_str("");
  recommend_flags->filter.AddTo(recommend);
  recommend_flags->search.AddTo(recommend);
  recommend->add_flag("--include-seen", recommend_flags->include_seen,
                      "Keep items of the user's own history");
  recommend->add_flag("--explain", recommend_flags->explain, "Under each item, what its score is made of");
  recommend->add_option("--reasons", recommend_flags->reasons, "With --explain: reasons to show for an item")
      ->check(WholeNumber(0));
  AddRepeated(recommend, "--context", recommend_flags->context, "An item that the user looks at right now")
      ->type_name("ITEM");

  const auto similar_flags = std::make_shared<SimilarFlags>();
  CLI::App* similar = AddCommand(app, session, "similar", "The items nearest to an item",
                                 "  swiftlet similar 318 -k 5 --category Drama",
                                 [&session, similar_flags] { return RunSimilar(session, *similar_flags); });
  similar->add_option("item", similar_flags->item, "The item's id")->required()->type_name("ITEM");
  similar->add_option("-k", similar_flags->k, "How many items");
  similar_flags->filter.AddTo(similar);
  similar_flags->search.AddTo(similar);

  const auto score_flags = std::make_shared<ScoreFlags>();
  CLI::App* score = AddCommand(app, session, "score", "The scores of given items for a user or a session",
                               "  swiftlet score 42 318 296 --explain\n"
                               "  swiftlet score --history 50:like 318 296   # no USER: only items follow",
                               [&session, score_flags] { return RunScore(session, *score_flags); });
  score->add_option("user_and_items", score_flags->user_and_items, "The user's id, then the items")
      ->required()
      ->type_name("[USER] ITEM");
  AddRepeated(score, "--history", score_flags->history, kHistoryHelp)->type_name("ITEM[:TYPE[:VALUE]]");
  AddRepeated(score, "--context", score_flags->context, "An item that the user looks at right now")
      ->type_name("ITEM");
  score->add_flag("--explain", score_flags->explain, "Under each item, what its score is made of");
  score->add_option("--reasons", score_flags->reasons, "With --explain: reasons to show for an item")
      ->check(WholeNumber(0));

  const auto predict_flags = std::make_shared<PredictFlags>();
  CLI::App* predict = AddCommand(
      app, session, "predict", "What a user, or a session, would rate given items",
      "  swiftlet predict 42 318 296\n"
      "  swiftlet predict --history 50:rating:4.5 --history 260:rating:2 318   # only items follow",
      [&session, predict_flags] { return RunPredict(session, *predict_flags); });
  predict->add_option("user_and_items", predict_flags->user_and_items, "The user's id, then the items")
      ->required()
      ->type_name("[USER] ITEM");
  AddRepeated(predict, "--history", predict_flags->history, kHistoryHelp)->type_name("ITEM[:TYPE[:VALUE]]");
}

}  // namespace swiftlet::cli
