// RecommendationService: see proto/swiftlet/v1/recommendation.proto.
#ifndef SWIFTLET_SERVER_RECOMMENDATION_SERVICE_H_
#define SWIFTLET_SERVER_RECOMMENDATION_SERVICE_H_

#include <memory>

#include "server/service_core.h"
#include "swiftlet/v1/recommendation.grpc.pb.h"

namespace swiftlet {

// Thread-safe. Answers inline, on gRPC's thread, whatever is in memory: inline histories and cached users. A
// user that has to be read from disk goes to a reader.
class RecommendationService final : public v1::RecommendationService::WithRawCallbackMethod_Recommend<
                                        v1::RecommendationService::WithRawCallbackMethod_SimilarItems<
                                            v1::RecommendationService::WithRawCallbackMethod_ScoreItems<
                                                v1::RecommendationService::WithRawCallbackMethod_Predict<
                                                    v1::RecommendationService::Service>>>> {
 public:
  // `core` must outlive this.
  explicit RecommendationService(ServiceCore* core) : core_(core) {}

  grpc::ServerUnaryReactor* Recommend(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                      grpc::ByteBuffer* out) override;
  grpc::ServerUnaryReactor* SimilarItems(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                         grpc::ByteBuffer* out) override;
  grpc::ServerUnaryReactor* ScoreItems(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                       grpc::ByteBuffer* out) override;
  grpc::ServerUnaryReactor* Predict(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                    grpc::ByteBuffer* out) override;

 private:
  // Finds the user's state, here or on a reader, then Answer.
  template <typename Request>
  void Serve(const Call& call, const Request& request);
  template <typename Request>
  void ServeFromStore(const Call& call, const Request& request);

  void Answer(const Call& call, const v1::RecommendRequest& request,
              const std::shared_ptr<const ServingState>& state, const UserState& user);
  void Answer(const Call& call, const v1::ScoreItemsRequest& request,
              const std::shared_ptr<const ServingState>& state, const UserState& user);
  void Answer(const Call& call, const v1::PredictRequest& request,
              const std::shared_ptr<const ServingState>& state, const UserState& user);
  void AnswerSimilar(const Call& call, const v1::SimilarItemsRequest& request);

  ServiceCore* const core_;
};

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_RECOMMENDATION_SERVICE_H_
