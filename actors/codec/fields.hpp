// The fields of every message and the schema they belong to (schemas/*.capnp), each once: codec.cpp walks through them
// in both directions. A field that is missing here does not travel; whether the rest fits is the compiler's business.
#pragma once

#include "actors/gateways/job_messages.hpp"
#include "actors/interfaces.hpp"
#include "schemas/client.capnp.h"
#include "schemas/cluster.capnp.h"

namespace troupe::codec {

// -- client.capnp -----------------------------------------------------------------------------------------------------

template <class F>
void each_field(const F& f, sampling_params& x) {
  using s = schema::Sampling;
  f(&s::Builder::setTemperature, &s::Reader::getTemperature, x.temperature);
  f(&s::Builder::setTopK, &s::Reader::getTopK, x.top_k);
  f(&s::Builder::setTopP, &s::Reader::getTopP, x.top_p);
  f(&s::Builder::setMinP, &s::Reader::getMinP, x.min_p);
  f(&s::Builder::setRepetitionPenalty, &s::Reader::getRepetitionPenalty, x.repetition_penalty);
  f(&s::Builder::setPresencePenalty, &s::Reader::getPresencePenalty, x.presence_penalty);
  f(&s::Builder::setFrequencyPenalty, &s::Reader::getFrequencyPenalty, x.frequency_penalty);
  f(&s::Builder::setSeed, &s::Reader::getSeed, x.seed);
  f(&s::Builder::setMaxTokens, &s::Reader::getMaxTokens, x.max_tokens);
  f(&s::Builder::setMinTokens, &s::Reader::getMinTokens, x.min_tokens);
  f(&s::Builder::setIgnoreEos, &s::Reader::getIgnoreEos, x.ignore_eos);
  f(&s::Builder::initStopTokenIds, &s::Reader::getStopTokenIds, x.stop_token_ids);
  f(&s::Builder::setLogprobs, &s::Reader::getLogprobs, x.logprobs);
  f(&s::Builder::setPromptLogprobs, &s::Reader::getPromptLogprobs, x.prompt_logprobs);
}

template <class F>
void each_field(const F& f, generation_request& x) {
  using s = schema::Generation;
  f(&s::Builder::setId, &s::Reader::getId, x.id);
  f(&s::Builder::initPrompt, &s::Reader::getPrompt, x.prompt);
  f(&s::Builder::initSampling, &s::Reader::getSampling, x.sampling);
  f(&s::Builder::setPriority, &s::Reader::getPriority, x.priority);
  f(&s::Builder::initOutput, &s::Reader::getOutput, x.output);
}

template <class F>
void each_field(const F& f, submit_request& x) {
  using s = schema::SubmitRequest;
  f(&s::Builder::initRequest, &s::Reader::getRequest, x.request);
  f(&s::Builder::initListener, &s::Reader::getListener, x.listener);
}

template <class F>
void each_field(const F& f, admit_request& x) {
  using s = schema::AdmitRequest;
  f(&s::Builder::initRequest, &s::Reader::getRequest, x.request);
  f(&s::Builder::initOwner, &s::Reader::getOwner, x.owner);
}

template <class F>
void each_field(const F& f, cancel_request& x) {
  using s = schema::CancelRequest;
  f(&s::Builder::setId, &s::Reader::getId, x.id);
}

template <class F>
void each_field(const F& f, admission& x) {
  using s = schema::Admission;
  f(&s::Builder::setAccepted, &s::Reader::getAccepted, x.accepted);
  f(&s::Builder::setCode, &s::Reader::getCode, x.code);
  f(&s::Builder::setWhy, &s::Reader::getWhy, x.why);
  f(&s::Builder::setRetryAfterS, &s::Reader::getRetryAfterS, x.retry_after_s);
}

template <class F>
void each_field(const F& f, submit_job& x) {
  using s = schema::SubmitJob;
  f(&s::Builder::initLines, &s::Reader::getLines, x.lines);
}

template <class F>
void each_field(const F& f, get_job& x) {
  using s = schema::GetJob;
  f(&s::Builder::setJob, &s::Reader::getJob, x.job);
}

template <class F>
void each_field(const F& f, cancel_job& x) {
  using s = schema::CancelJob;
  f(&s::Builder::setJob, &s::Reader::getJob, x.job);
}

template <class F>
void each_field(const F& f, job_progress& x) {
  using s = schema::JobProgress;
  f(&s::Builder::setJob, &s::Reader::getJob, x.job);
  f(&s::Builder::setLines, &s::Reader::getLines, x.lines);
  f(&s::Builder::setDone, &s::Reader::getDone, x.done);
  f(&s::Builder::setFailed, &s::Reader::getFailed, x.failed);
  f(&s::Builder::setCancelled, &s::Reader::getCancelled, x.cancelled);
  f(&s::Builder::setAgeMs, &s::Reader::getAgeMs, x.age_ms);
}

template <class F>
void each_field(const F& f, fetch_results& x) {
  using s = schema::FetchResults;
  f(&s::Builder::setJob, &s::Reader::getJob, x.job);
  f(&s::Builder::setFrom, &s::Reader::getFrom, x.from);
}

template <class F>
void each_field(const F& f, job_results& x) {
  using s = schema::JobResults;
  f(&s::Builder::initProgress, &s::Reader::getProgress, x.progress);
  f(&s::Builder::initLines, &s::Reader::getLines, x.lines);
}

// -- cluster.capnp ----------------------------------------------------------------------------------------------------

template <class F>
void each_field(const F& f, join_cluster& x) {
  using s = schema::JoinCluster;
  f(&s::Builder::setName, &s::Reader::getName, x.name);
  f(&s::Builder::setPid, &s::Reader::getPid, x.pid);
}

template <class F>
void each_field(const F& f, moe::placement& x) {
  using s = schema::Placement;
  f(&s::Builder::setEpoch, &s::Reader::getEpoch, x.epoch);
  f(&s::Builder::initOwner, &s::Reader::getOwner, x.owner);
}

template <class F>
void each_field(const F& f, serving_options& x) {
  using s = schema::ServingOptions;
  f(&s::Builder::setModelDir, &s::Reader::getModelDir, x.model_dir);
  f(&s::Builder::setDevice, &s::Reader::getDevice, x.device);
  f(&s::Builder::setDtype, &s::Reader::getDtype, x.dtype);
  f(&s::Builder::setThreads, &s::Reader::getThreads, x.threads);
  f(&s::Builder::setMaxNumSeqs, &s::Reader::getMaxNumSeqs, x.max_num_seqs);
  f(&s::Builder::setMaxNumBatchedTokens, &s::Reader::getMaxNumBatchedTokens, x.max_num_batched_tokens);
  f(&s::Builder::setMaxModelLen, &s::Reader::getMaxModelLen, x.max_model_len);
  f(&s::Builder::setKvCacheRatio, &s::Reader::getKvCacheRatio, x.kv_cache_ratio);
  f(&s::Builder::setSeed, &s::Reader::getSeed, x.seed);
  f(&s::Builder::setSpeculative, &s::Reader::getSpeculative, x.speculative);
  f(&s::Builder::setIsa, &s::Reader::getIsa, x.isa);
  f(&s::Builder::setDeterministic, &s::Reader::getDeterministic, x.deterministic);
  f(&s::Builder::setKvCacheDtype, &s::Reader::getKvCacheDtype, x.kv_cache_dtype);
  f(&s::Builder::setLoadFormat, &s::Reader::getLoadFormat, x.load_format);
}

template <class F>
void each_field(const F& f, role_assignment& x) {
  using s = schema::RoleAssignment;
  f(&s::Builder::setProcess, &s::Reader::getProcess, x.process);
  f(&s::Builder::setShard, &s::Reader::getShard, x.shard);
  f(&s::Builder::initPlacement, &s::Reader::getPlacement, x.placement);
  f(&s::Builder::setVocabSize, &s::Reader::getVocabSize, x.vocab_size);
  f(&s::Builder::initOptions, &s::Reader::getOptions, x.options);
}

template <class F>
void each_field(const F& f, step_histogram& x) {
  using s = schema::StepHistogram;
  f(&s::Builder::initSteps, &s::Reader::getSteps, x.steps);
  f(&s::Builder::setRows, &s::Reader::getRows, x.rows);
}

template <class F>
void each_field(const F& f, role_progress& x) {
  using s = schema::RoleProgress;
  f(&s::Builder::setProcess, &s::Reader::getProcess, x.process);
  f(&s::Builder::setSteps, &s::Reader::getSteps, x.report.steps);
  f(&s::Builder::setRunning, &s::Reader::getRunning, x.report.running);
  f(&s::Builder::setWaiting, &s::Reader::getWaiting, x.report.waiting);
  f(&s::Builder::setKvUsage, &s::Reader::getKvUsage, x.report.kv_usage);
  f(&s::Builder::setDraftsProposed, &s::Reader::getDraftsProposed, x.report.drafts_proposed);
  f(&s::Builder::setDraftsAccepted, &s::Reader::getDraftsAccepted, x.report.drafts_accepted);
  f(&s::Builder::setPreemptions, &s::Reader::getPreemptions, x.report.preemptions);
  f(&s::Builder::setPages, &s::Reader::getPages, x.report.pages);
  f(&s::Builder::initStepRows, &s::Reader::getStepRows, x.report.step_rows);
}

template <class F>
void each_field(const F& f, role_ready& x) {
  using s = schema::RoleReady;
  f(&s::Builder::setProcess, &s::Reader::getProcess, x.process);
  f(&s::Builder::setDevice, &s::Reader::getDevice, x.device);
}

template <class F>
void each_field(const F& f, role_draining& x) {
  using s = schema::RoleDraining;
  f(&s::Builder::setProcess, &s::Reader::getProcess, x.process);
}

template <class F>
void each_field(const F& f, kv_cache_ready& x) {
  using s = schema::KvCacheReady;
  f(&s::Builder::setProcess, &s::Reader::getProcess, x.process);
  f(&s::Builder::setDevice, &s::Reader::getDevice, x.device);
  f(&s::Builder::initHandle, &s::Reader::getHandle, x.handle);
}

template <class F>
void each_field(const F& f, expert_shard_ready& x) {
  using s = schema::ExpertShardReady;
  f(&s::Builder::setProcess, &s::Reader::getProcess, x.process);
  f(&s::Builder::setShard, &s::Reader::getShard, x.shard);
  f(&s::Builder::setDevice, &s::Reader::getDevice, x.device);
  f(&s::Builder::setAddress, &s::Reader::getAddress, x.address);
  f(&s::Builder::initHandle, &s::Reader::getHandle, x.handle);
}

template <class F>
void each_field(const F& f, shard_ref& x) {
  using s = schema::ShardRef;
  f(&s::Builder::setShard, &s::Reader::getShard, x.shard);
  f(&s::Builder::setProcess, &s::Reader::getProcess, x.process);
  f(&s::Builder::setAddress, &s::Reader::getAddress, x.address);
  f(&s::Builder::setDevice, &s::Reader::getDevice, x.device);
  f(&s::Builder::initHandle, &s::Reader::getHandle, x.handle);
}

template <class F>
void each_field(const F& f, kv_cache_ref& x) {
  using s = schema::KvCacheRef;
  f(&s::Builder::setProcess, &s::Reader::getProcess, x.process);
  f(&s::Builder::initHandle, &s::Reader::getHandle, x.handle);
}

template <class F>
void each_field(const F& f, cluster_view& x) {
  using s = schema::ClusterView;
  f(&s::Builder::setEpoch, &s::Reader::getEpoch, x.epoch);
  f(&s::Builder::initPlacement, &s::Reader::getPlacement, x.placement);
  f(&s::Builder::initShards, &s::Reader::getShards, x.shards);
  f(&s::Builder::initKvCaches, &s::Reader::getKvCaches, x.kv_caches);
}

template <class F>
void each_field(const F& f, watch_cluster& x) {
  using s = schema::WatchCluster;
  f(&s::Builder::initListener, &s::Reader::getListener, x.listener);
}

template <class F>
void each_field(const F& f, role_status& x) {
  using s = schema::RoleStatus;
  f(&s::Builder::setRole, &s::Reader::getRole, x.role);
  f(&s::Builder::setName, &s::Reader::getName, x.name);
  f(&s::Builder::setDevice, &s::Reader::getDevice, x.device);
  f(&s::Builder::setState, &s::Reader::getState, x.state);
  f(&s::Builder::setPid, &s::Reader::getPid, x.pid);
  f(&s::Builder::setSteps, &s::Reader::getSteps, x.steps);
  f(&s::Builder::setStepAgeMs, &s::Reader::getStepAgeMs, x.step_age_ms);
  f(&s::Builder::setRunning, &s::Reader::getRunning, x.running);
  f(&s::Builder::setWaiting, &s::Reader::getWaiting, x.waiting);
  f(&s::Builder::setKvUsage, &s::Reader::getKvUsage, x.kv_usage);
  f(&s::Builder::setRestarts, &s::Reader::getRestarts, x.restarts);
  f(&s::Builder::setDraftsProposed, &s::Reader::getDraftsProposed, x.drafts_proposed);
  f(&s::Builder::setDraftsAccepted, &s::Reader::getDraftsAccepted, x.drafts_accepted);
  f(&s::Builder::setPreemptions, &s::Reader::getPreemptions, x.preemptions);
  f(&s::Builder::setPages, &s::Reader::getPages, x.pages);
  f(&s::Builder::initStepRows, &s::Reader::getStepRows, x.step_rows);
}

template <class F>
void each_field(const F& f, cluster_status& x) {
  using s = schema::ClusterStatus;
  f(&s::Builder::setReady, &s::Reader::getReady, x.ready);
  f(&s::Builder::initRoles, &s::Reader::getRoles, x.roles);
}

// Never called: which schema a message has.

schema::SubmitRequest schema_of(const submit_request&);
schema::AdmitRequest schema_of(const admit_request&);
schema::CancelRequest schema_of(const cancel_request&);
schema::Admission schema_of(const admission&);
schema::SubmitJob schema_of(const submit_job&);
schema::GetJob schema_of(const get_job&);
schema::CancelJob schema_of(const cancel_job&);
schema::JobProgress schema_of(const job_progress&);
schema::FetchResults schema_of(const fetch_results&);
schema::JobResults schema_of(const job_results&);
schema::JoinCluster schema_of(const join_cluster&);
schema::RoleAssignment schema_of(const role_assignment&);
schema::RoleProgress schema_of(const role_progress&);
schema::RoleReady schema_of(const role_ready&);
schema::RoleDraining schema_of(const role_draining&);
schema::KvCacheReady schema_of(const kv_cache_ready&);
schema::ExpertShardReady schema_of(const expert_shard_ready&);
schema::ClusterView schema_of(const cluster_view&);
schema::WatchCluster schema_of(const watch_cluster&);
schema::ClusterStatus schema_of(const cluster_status&);

} // namespace troupe::codec
