// Two orders decide everything. Turns (who begins, whose prompt is read next): priority, service of
// the tenant, age; this is start-time fair queueing (Goyal, Vin, Cheng 1996) with rows as time.
// Ranks (who gives way when pages run out): priority, age. Ranks never change, so the highest one
// always gets on, and preemption cannot go round in circles.
#include "engine/scheduler.h"

#include <algorithm>

#include "core/check.h"

namespace onnuri {

Scheduler::Scheduler(const SchedulerOptions& options)
    : options_(options), free_pages_(options.num_pages) {
  const auto at_least = [](const char* name, int64_t value, int64_t low) {
    if (value < low)
      fail(ErrorCode::kInvalidArgument, "expected ", name, " of at least ", low, ", found ", value);
  };
  at_least("max_sequences", options.max_sequences, 1);
  at_least("max_queue", options.max_queue, 1);
  at_least("max_chunk", options.max_chunk, 1);
  at_least("encoder_tokens", options.encoder_tokens, 1);
  at_least("page_rows", options.page_rows, 1);
  at_least("num_pages", options.num_pages, 1);
  // Every answer gets its row, and one is left for a prompt.
  at_least("decoder_rows", options.decoder_rows, options.max_sequences);
}

void Scheduler::submit(const ScheduledRequest& request) {
  if (requests_.count(request.id) > 0)
    fail(ErrorCode::kInvalidArgument, "expected a new request id, found ", request.id, " again");
  if (request.prompt_tokens < 1)
    fail(ErrorCode::kInvalidArgument, "expected a prompt of at least 1 token, found ",
         request.prompt_tokens);
  if (request.encoder_tokens < 0)
    fail(ErrorCode::kInvalidArgument, "expected encoder_tokens of at least 0, found ",
         request.encoder_tokens);
  if (pages_for(request.prompt_tokens) > options_.num_pages)
    fail(ErrorCode::kOutOfMemory, "expected a prompt that fits ", options_.num_pages, " pages of ",
         options_.page_rows, " tokens, found ", request.prompt_tokens, " tokens");
  const auto waiting = std::count_if(requests_.begin(), requests_.end(), [](const auto& entry) {
    return entry.second.state == RequestState::kWaiting;
  });
  if (waiting >= options_.max_queue)
    fail(ErrorCode::kOutOfMemory, "expected at most ", options_.max_queue,
         " requests in the queue, found it full");

  Request entry;
  entry.asked = request;
  entry.order = next_order_;
  entry.known = request.prompt_tokens;
  const auto [slot, is_new] = tenants_.try_emplace(request.tenant);
  try {
    requests_.emplace(request.id, std::move(entry));
  } catch (...) {
    if (is_new) tenants_.erase(slot);
    throw;
  }
  // Time that a tenant did not ask for is not saved up.
  if (slot->second.requests == 0) slot->second.service = std::max(slot->second.service, floor_);
  slot->second.requests += 1;
  next_order_ += 1;
}

void Scheduler::set_ready(int64_t id, bool ready) { at(id).ready = ready; }

void Scheduler::next_step(double now_ms, SchedulerStep& step) {
  step = {};
  // So that nothing that is done to a request can fail to be told.
  step.ended.reserve(requests_.size());
  step.preempted.reserve(requests_.size());
  end_late(now_ms, step);
  grow(step);
  admit(step);
  share_encoder(step);
  share_decoder(step);
}

void Scheduler::encoded(int64_t id, int64_t num_tokens) {
  Request& request = at(id);
  ONNURI_CHECK(request.state == RequestState::kEncoding);
  ONNURI_CHECK(num_tokens >= 0 && num_tokens <= request.asked.encoder_tokens - request.encoded);
  request.encoded += num_tokens;
  if (request.encoded == request.asked.encoder_tokens) request.state = RequestState::kPrefilling;
  serve(request, num_tokens);
}

void Scheduler::finish_encoding(int64_t id) {
  Request& request = at(id);
  const int64_t rest = request.asked.encoder_tokens - request.encoded;
  request.encoded = request.asked.encoder_tokens;
  if (request.state == RequestState::kEncoding) request.state = RequestState::kPrefilling;
  serve(request, rest);
}

void Scheduler::computed(int64_t id, int64_t num_rows) {
  Request& request = at(id);
  ONNURI_CHECK(request.state == RequestState::kPrefilling ||
               request.state == RequestState::kDecoding);
  ONNURI_CHECK(num_rows >= 0 && num_rows <= request.known - request.computed);
  ONNURI_CHECK(pages_for(request.computed + num_rows) <= request.pages);
  request.computed += num_rows;
  if (request.computed == request.known) request.state = RequestState::kDecoding;
  serve(request, std::max<int64_t>(0, request.computed - request.served));
  request.served = std::max(request.served, request.computed);
}

void Scheduler::append_tokens(int64_t id, int64_t count) {
  Request& request = at(id);
  ONNURI_CHECK(count >= 1 && request.encoded == request.asked.encoder_tokens);
  ONNURI_CHECK(request.state != RequestState::kWaiting);
  request.known += count;
}

// Pages stay: those that the request still holds may lag behind.
void Scheduler::rewind(int64_t id, int64_t computed, int64_t known) {
  Request& request = at(id);
  ONNURI_CHECK(computed >= 0 && computed <= known && known >= request.asked.prompt_tokens);
  request.known = known;
  request.served = std::min(request.served, known);
  request.computed = std::min(request.computed, computed);
  if (request.state == RequestState::kDecoding || request.state == RequestState::kPrefilling)
    request.state = request.computed == known ? RequestState::kDecoding : RequestState::kPrefilling;
}

void Scheduler::end(int64_t id) {
  const auto found = requests_.find(id);
  if (found == requests_.end()) return;
  release(found->second);
  const auto tenant = tenants_.find(found->second.asked.tenant);
  tenant->second.requests -= 1;
  requests_.erase(found);
  forget_tenants();
}

RequestState Scheduler::state(int64_t id) const {
  const auto found = requests_.find(id);
  return found == requests_.end() ? RequestState::kDone : found->second.state;
}

int64_t Scheduler::num_pages(int64_t id) const {
  const auto found = requests_.find(id);
  return found == requests_.end() ? 0 : found->second.pages;
}

int64_t Scheduler::num_missing(int64_t id) const {
  const auto found = requests_.find(id);
  return found == requests_.end() ? 0 : found->second.known - found->second.computed;
}

int64_t Scheduler::num_running() const {
  return std::count_if(requests_.begin(), requests_.end(),
                       [](const auto& entry) { return entry.second.is_running(); });
}

void Scheduler::check_integrity() const {
  int64_t pages = free_pages_;
  std::map<std::string, int64_t> of_tenant;
  for (const auto& [id, request] : requests_) {
    ONNURI_CHECK(id == request.asked.id && request.state != RequestState::kDone);
    ONNURI_CHECK(request.order < next_order_);
    ONNURI_CHECK(request.known >= request.asked.prompt_tokens);
    ONNURI_CHECK(request.computed >= 0 && request.computed <= request.known);
    ONNURI_CHECK(request.computed <= request.served && request.served <= request.known);
    ONNURI_CHECK(request.encoded >= 0 && request.encoded <= request.asked.encoder_tokens);
    if (request.is_running())
      ONNURI_CHECK(request.pages >= 1 && request.pages >= pages_for(request.computed));
    else
      ONNURI_CHECK(request.pages == 0 && request.computed == 0);
    if (request.state == RequestState::kDecoding || request.state == RequestState::kPrefilling)
      ONNURI_CHECK(request.encoded == request.asked.encoder_tokens);
    pages += request.pages;
    of_tenant[request.asked.tenant] += 1;
  }
  ONNURI_CHECK(free_pages_ >= 0 && pages == options_.num_pages);
  ONNURI_CHECK(num_running() <= options_.max_sequences);
  for (const auto& [name, tenant] : tenants_) {
    const auto found = of_tenant.find(name);
    ONNURI_CHECK(tenant.requests == (found == of_tenant.end() ? 0 : found->second));
  }
  for (const auto& entry : of_tenant) ONNURI_CHECK(tenants_.count(entry.first) == 1);
}

Scheduler::Request& Scheduler::at(int64_t id) {
  const auto found = requests_.find(id);
  ONNURI_CHECK(found != requests_.end());
  return found->second;
}

int64_t Scheduler::pages_for(int64_t rows) const {
  return rows / options_.page_rows + (rows % options_.page_rows != 0 ? 1 : 0);
}

void Scheduler::serve(const Request& request, int64_t amount) {
  tenants_.find(request.asked.tenant)->second.service += amount;
  forget_tenants();
}

// Raises the floor, and drops idle tenants that would begin there anyway.
void Scheduler::forget_tenants() {
  int64_t least = std::numeric_limits<int64_t>::max();
  for (const auto& entry : tenants_)
    if (entry.second.requests > 0) least = std::min(least, entry.second.service);
  if (requests_.empty()) {
    tenants_.clear();
    floor_ = 0;
    return;
  }
  floor_ = std::max(floor_, least);
  std::erase_if(tenants_, [this](const auto& entry) {
    return entry.second.requests == 0 && entry.second.service <= floor_;
  });
}

void Scheduler::release(Request& request) {
  free_pages_ += request.pages;
  request.pages = 0;
  request.computed = 0;
}

void Scheduler::preempt(Request& request, SchedulerStep& step) {
  step.preempted.push_back(request.asked.id);
  release(request);
  request.state = RequestState::kPreempted;
}

void Scheduler::end_late(double now_ms, SchedulerStep& step) {
  for (const auto& [id, request] : requests_)
    if (request.asked.deadline_ms <= now_ms) step.ended.push_back({id, ErrorCode::kCancelled});
  for (const EndedRequest& late : step.ended) end(late.id);
}

void Scheduler::grow(SchedulerStep& step) {
  std::vector<int64_t> ids;  // requests may end on the way
  for (const Request* request : by_rank()) ids.push_back(request->asked.id);
  for (const int64_t id : ids) {
    Request& request = at(id);
    if (!request.is_running()) continue;
    if (pages_for(request.known) > options_.num_pages) {  // not even alone: others stay
      step.ended.push_back({id, ErrorCode::kOutOfMemory});
      end(id);
    } else if (!grow_one(request, step)) {
      preempt(request, step);
    }
  }
}

bool Scheduler::grow_one(Request& request, SchedulerStep& step) {
  const int64_t wanted = pages_for(request.known) - request.pages;
  while (free_pages_ < wanted) {
    Request* const last = by_rank().back();
    if (last == &request) return false;
    preempt(*last, step);
  }
  if (wanted > 0) {
    request.pages += wanted;
    free_pages_ -= wanted;
  }
  return true;
}

void Scheduler::admit(SchedulerStep& step) {
  while (true) {
    Request* next = nullptr;
    for (auto& entry : requests_) {
      Request& request = entry.second;
      if (!request.is_running() && (!next || goes_before(request, *next))) next = &request;
    }
    if (!next) return;
    if (!make_room(*next, step)) return;
    next->pages = pages_for(next->known);
    free_pages_ -= next->pages;
    next->state = next->encoded < next->asked.encoder_tokens ? RequestState::kEncoding
                                                             : RequestState::kPrefilling;
  }
}

// Only lower priorities give way to a request that begins, and only if that is enough.
bool Scheduler::make_room(const Request& request, SchedulerStep& step) {
  const int64_t wanted = pages_for(request.known);
  int64_t free_pages = free_pages_;
  int64_t running = num_running();
  const auto fits = [&] { return free_pages >= wanted && running < options_.max_sequences; };
  std::vector<Request*> others = by_rank();
  std::vector<Request*> leaving;
  while (!fits()) {
    if (others.empty() || others.back()->asked.priority >= request.asked.priority) return false;
    leaving.push_back(others.back());
    free_pages += others.back()->pages;
    running -= 1;
    others.pop_back();
  }
  for (Request* const other : leaving) preempt(*other, step);
  return true;
}

void Scheduler::share_encoder(SchedulerStep& step) const {
  int64_t budget = options_.encoder_tokens;
  for (const Request* request : in_turn()) {
    if (request->state != RequestState::kEncoding || !request->ready || budget == 0) continue;
    const int64_t count = std::min(budget, request->asked.encoder_tokens - request->encoded);
    step.encoder.push_back({request->asked.id, count});
    budget -= count;
  }
}

void Scheduler::share_decoder(SchedulerStep& step) const {
  int64_t budget = options_.decoder_rows;
  const std::vector<const Request*> turns = in_turn();
  for (const RequestState state : {RequestState::kDecoding, RequestState::kPrefilling}) {
    for (const Request* request : turns) {
      const int64_t rest = request->known - request->computed;
      const int64_t count = std::min({budget, options_.max_chunk, rest});
      if (request->state != state || !request->ready || count == 0) continue;
      step.decoder.push_back({request->asked.id, count, count == rest});
      budget -= count;
    }
  }
}

bool Scheduler::goes_before(const Request& a, const Request& b) const {
  if (a.asked.priority != b.asked.priority) return a.asked.priority > b.asked.priority;
  const int64_t service_a = tenants_.find(a.asked.tenant)->second.service;
  const int64_t service_b = tenants_.find(b.asked.tenant)->second.service;
  if (service_a != service_b) return service_a < service_b;
  return a.order < b.order;
}

bool Scheduler::outranks(const Request& a, const Request& b) {
  if (a.asked.priority != b.asked.priority) return a.asked.priority > b.asked.priority;
  return a.order < b.order;
}

std::vector<const Scheduler::Request*> Scheduler::in_turn() const {
  std::vector<const Request*> found;
  for (const auto& entry : requests_)
    if (entry.second.is_running()) found.push_back(&entry.second);
  std::sort(found.begin(), found.end(),
            [this](const Request* a, const Request* b) { return goes_before(*a, *b); });
  return found;
}

std::vector<Scheduler::Request*> Scheduler::by_rank() {
  std::vector<Request*> found;
  for (auto& entry : requests_)
    if (entry.second.is_running()) found.push_back(&entry.second);
  std::sort(found.begin(), found.end(),
            [](const Request* a, const Request* b) { return outranks(*a, *b); });
  return found;
}

}  // namespace onnuri
