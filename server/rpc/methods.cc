#include "server/rpc/methods.h"

#include <string>
#include <utility>

#include "batchnorm/v1/batch_norm_service.grpc.pb.h"
#include "server/rpc/backward_handler.h"
#include "server/rpc/call_header.h"
#include "server/rpc/evaluate_handler.h"
#include "server/rpc/forward_handler.h"
#include "server/rpc/session_handlers.h"
#include "server/rpc/sync_handler.h"
#include "server/rpc/unary_call.h"

namespace batchnorm::rpc {
namespace {

using Api = v1::BatchNormService;
using RawService = Api::WithRawMethod_CreateSession<
    Api::WithRawMethod_GetSession<Api::WithRawMethod_ListSessions<
        Api::WithRawMethod_UpdateSession<Api::WithRawMethod_AcquireSession<
            Api::WithRawMethod_ExportSession<Api::WithRawMethod_ImportSession<
                Api::WithRawMethod_DeleteSession<Api::WithRawMethod_Forward<
                    Api::WithRawMethod_Backward<Api::WithRawMethod_Sync<
                        Api::WithRawMethod_Join<Api::WithRawMethod_Evaluate<
                            Api::Service>>>>>>>>>>>>>;

// One of RawService's RequestX.
using RequestMember = void (RawService::*)(grpc::ServerContext*,
                                           grpc::ByteBuffer*, RawReplyWriter*,
                                           grpc::CompletionQueue*,
                                           grpc::ServerCompletionQueue*, void*);

class MethodTable {
 public:
  MethodTable(RawService& service, session::Registry& registry)
      : service_(service), registry_(registry) {}

  template <typename Request, typename Reply>
  void AddSessionCall(const std::string& name, RequestMember request,
                      absl::StatusOr<Reply> (*handler)(session::Registry&,
                                                       const Request&)) {
    Add<Request, Reply>(
        name, request, false,
        [handler, registry = &registry_](const Request& message,
                                         const Responder<Reply>& respond) {
          session::Registry tenants = registry->Of(respond.tenant());
          respond(handler(tenants, message));
        });
  }

  template <typename Request, typename Reply>
  void AddTensorCall(const std::string& name, RequestMember request,
                     void (*handler)(session::Registry&, Request,
                                     const Responder<Reply>&)) {
    Add<Request, Reply>(name, request, true,
                        [handler, registry = &registry_](
                            Request message, const Responder<Reply>& respond) {
                          session::Registry tenants =
                              registry->Of(respond.tenant());
                          handler(tenants, std::move(message), respond);
                        });
  }

  template <typename Request, typename Reply>
  void Add(const std::string& name, RequestMember request, bool carries_tensors,
           std::function<void(Request, Responder<Reply>)> handler) {
    methods_.push_back(
        {.name = name,
         .carries_tensors = carries_tensors,
         .request =
             [request, service = &service_](
                 grpc::ServerContext* context, grpc::ByteBuffer* bytes,
                 RawReplyWriter* writer, grpc::ServerCompletionQueue* queue,
                 void* tag) {
               (service->*request)(context, bytes, writer, queue, queue, tag);
             },
         .answer = AnswerWith<Request, Reply>(std::move(handler))});
  }

  std::vector<Method> Take() { return std::move(methods_); }

 private:
  RawService& service_;
  session::Registry& registry_;
  std::vector<Method> methods_;
};

// Ranks that wait for a call that was not admitted need not wait any longer.
void TellOfRefusals(session::Registry& registry, std::vector<Method>& methods) {
  const auto teller = [&registry](session::Phase phase) {
    return [&registry, phase](const std::string& tenant,
                              const grpc::ByteBuffer& request,
                              const absl::Status& why) {
      const CallHeader header = ReadHeader(request, phase);
      registry.Of(tenant).Refuse(header.session, header.key, header.rank, why);
    };
  };
  for (Method& method : methods) {
    if (method.name == "Forward") {
      method.refused = teller(session::Phase::kForward);
    } else if (method.name == "Backward") {
      method.refused = teller(session::Phase::kBackward);
    }
  }
}

// The sums of some thousands of channels take about as long as waking a thread,
// for which all ranks of the step would wait. In so many bytes there are 6,144
// channels at most.
void AnswerFewSumsAtOnce(session::Registry& registry,
                         std::vector<Method>& methods) {
  constexpr std::size_t kFewBytes = 96 << 10;
  for (Method& method : methods) {
    if (method.name != "Sync") continue;
    method.is_quick = [&registry](const std::string& tenant,
                                  const grpc::ByteBuffer& request) {
      return request.Length() <= kFewBytes &&
             registry.Of(tenant).IsLoaded(
                 ReadHeader(request, session::Phase::kForward).session);
    };
  }
}

JoinMethod MakeJoin(RawService& service, session::Registry& registry) {
  return {.request =
              [&service](grpc::ServerContext* context, grpc::ByteBuffer* bytes,
                         RawReplyStream* stream,
                         grpc::ServerCompletionQueue* queue, void* tag) {
                service.RequestJoin(context, bytes, stream, queue, queue, tag);
              },
          .registry = registry};
}

void AddEvaluate(MethodTable& table, const session::TensorLimits& limits,
                 kernel::Workers& workers) {
  table.Add<v1::EvaluateRequest, v1::EvaluateResponse>(
      "Evaluate", &RawService::RequestEvaluate, true,
      [limits, &workers](v1::EvaluateRequest request,
                         const Responder<v1::EvaluateResponse>& respond) {
        respond(Evaluate(limits, workers, std::move(request)));
      });
}

}  // namespace

ServiceMethods MakeServiceMethods(session::Registry& registry,
                                  const session::TensorLimits& limits,
                                  kernel::Workers& workers) {
  auto service = std::make_unique<RawService>();
  MethodTable table(*service, registry);
  table.AddSessionCall("CreateSession", &RawService::RequestCreateSession,
                       &CreateSession);
  table.AddSessionCall("GetSession", &RawService::RequestGetSession,
                       &GetSession);
  table.AddSessionCall("ListSessions", &RawService::RequestListSessions,
                       &ListSessions);
  table.AddSessionCall("UpdateSession", &RawService::RequestUpdateSession,
                       &UpdateSession);
  table.AddSessionCall("AcquireSession", &RawService::RequestAcquireSession,
                       &AcquireSession);
  table.AddSessionCall("ExportSession", &RawService::RequestExportSession,
                       &ExportSession);
  table.AddSessionCall("ImportSession", &RawService::RequestImportSession,
                       &ImportSession);
  table.AddSessionCall("DeleteSession", &RawService::RequestDeleteSession,
                       &DeleteSession);
  table.AddTensorCall("Forward", &RawService::RequestForward, &Forward);
  table.AddTensorCall("Backward", &RawService::RequestBackward, &Backward);
  table.AddTensorCall("Sync", &RawService::RequestSync, &Sync);
  AddEvaluate(table, limits, workers);
  std::vector<Method> methods = table.Take();
  TellOfRefusals(registry, methods);
  AnswerFewSumsAtOnce(registry, methods);
  JoinMethod join = MakeJoin(*service, registry);
  return {.service = std::move(service),
          .methods = std::move(methods),
          .join = std::move(join)};
}

}  // namespace batchnorm::rpc
