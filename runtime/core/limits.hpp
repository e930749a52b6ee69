// Every bound of the system has a name here. Over a limit is an honest reply (bad_input or overloaded), never growth.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace troupe::limits {

// Files.
inline constexpr std::size_t safetensors_header_bytes_max = 100u << 20;
inline constexpr std::size_t tensors_max = 1'000'000; // R1 has 91,991
inline constexpr std::size_t tensor_name_bytes_max = 512;
inline constexpr std::size_t tensor_rank_max = 16;
inline constexpr std::size_t shards_max = 10'000;              // R1 has 163
inline constexpr std::size_t json_file_bytes_max = 512u << 20; // the index of a 685 B model is 9 MB, a tokenizer 8 MB
inline constexpr int json_depth_max = 64;
inline constexpr std::size_t json_file_keys_max = 1u << 20; // of one object: a vocabulary, the tensors of an index

// Tokenizer. A checkpoint's regular expressions run on a client's text.
inline constexpr std::size_t tokenizer_file_bytes_max = 64u << 20;
inline constexpr int token_ids_max = 1 << 20; // the largest vocabulary in use has about 2^18
inline constexpr std::size_t added_token_bytes_max = 1024;
inline constexpr std::size_t encode_text_bytes_max = 64u << 20;
inline constexpr std::size_t regex_bytes_max = 64u << 10;
inline constexpr std::uint32_t regex_match_steps_max = 20'000'000; // one match may walk through all of a request
inline constexpr std::uint32_t regex_heap_kib_max = 64u << 10;

// One request (operations.md, section 4, "Limits").
inline constexpr std::size_t http_body_bytes_max = 8u << 20;
inline constexpr std::size_t http_header_bytes_max = 16u << 10;
inline constexpr std::size_t http_json_keys_max = 1024; // of one object
inline constexpr std::size_t http_connections_max = 4096;
inline constexpr int http_fields_max = 100;
inline constexpr std::size_t request_id_bytes_max = 128;     // of `x-request-id`
inline constexpr std::chrono::seconds http_head_timeout{10}; // from the first byte of a request to its empty line
/// A body that brings less than this in one window is too slow (64 bytes a second); so is one beyond the timeout.
inline constexpr std::chrono::seconds http_body_window{10};
inline constexpr std::size_t http_body_window_bytes = 640;
inline constexpr std::chrono::seconds http_body_timeout{300};
inline constexpr std::chrono::seconds http_idle_timeout{75};  // between two requests of one connection
inline constexpr std::chrono::seconds http_write_timeout{30}; // one write of an answer
inline constexpr std::chrono::seconds http_linger{5};         // at the end: for answers under way
/// How long a stream waits for its first token before it sends 200, and then between signs of life (`: keep-alive`).
inline constexpr std::chrono::seconds sse_keep_alive{10};
inline constexpr std::size_t http_unsent_bytes_max = 1u << 20; // a client that reads slower than this is cut off
inline constexpr int prompts_max = 64;                         // of one /v1/completions request
inline constexpr int max_tokens_max = 32768;
inline constexpr int choices_max = 8; // `n`
inline constexpr std::size_t stop_strings_max = 16;
inline constexpr std::size_t stop_string_bytes_max = 256;
inline constexpr int top_logprobs_max = 20;

// Jobs.
inline constexpr std::size_t jobs_max = 64; // kept; finished ones leave first
inline constexpr std::size_t job_lines_max = 50'000;
inline constexpr std::size_t job_bytes_max = 256u << 20; // requests of one job
inline constexpr std::size_t job_lines_in_flight = 32;   // of all jobs
inline constexpr std::size_t job_fetch_bytes_max = 4u << 20;
inline constexpr std::chrono::milliseconds job_retry_delay{1'000};

// Router and scheduler.
inline constexpr std::size_t waiting_requests_max = 1024;
inline constexpr int max_num_seqs_default = 64;
inline constexpr int max_num_batched_tokens_default = 512;
inline constexpr int max_model_len_default = 4096;
inline constexpr std::chrono::seconds retry_after_min{1};
inline constexpr std::chrono::seconds retry_after_max{60};
inline constexpr double kv_cache_ratio_default = 0.8;
/// Rows of one step whose logits are kept for prompt log probabilities: 64 rows of 129,280 floats are 33 MB.
inline constexpr int prompt_logprob_rows_max = 64;
/// Tokens in one page of the latent cache (FlashMLA's page size, and the CUDA kernels').
inline constexpr int page_tokens = 64;

// Transport between processes.
inline constexpr std::size_t segment_pool_bytes_max = 256u << 20;  // kept for reuse; more goes back to the system
inline constexpr std::size_t segment_pool_returns_per_trim = 1024; // half of what lay unused goes back
inline constexpr std::size_t frame_meta_bytes_max = 64u << 20;     // a batch job's requests travel as one message
inline constexpr std::size_t frame_segments_max = 64;
inline constexpr std::size_t segment_bytes_max = 1u << 30;
inline constexpr std::size_t peers_max = 4096;
/// What one peer may have sent that its receivers have not handled yet; beyond that its frames wait at the sender ...
inline constexpr std::size_t peer_credit_frames = 4096;
inline constexpr std::size_t peer_credit_bytes = 256u << 20;
/// ... and beyond this the sender gets `overloaded`.
inline constexpr std::size_t peer_waiting_bytes_max = 256u << 20;
/// Of large frames, what one peer fetches at a time: enough to fill the wire, little enough to stay in warm memory.
inline constexpr std::size_t peer_fetch_bytes_max = 8u << 20;
inline constexpr std::size_t peer_hot_waiting_max = 1024; // hot messages that the wire has not taken yet
inline constexpr std::size_t handshakes_max = 256;        // under way at a time; whoever comes then is not let in
/// UCX workers that were replaced (net/ucx/ucx_worker.hpp) and are still in use, or cannot be destroyed; 4 MB each.
inline constexpr std::size_t retired_workers_max = 32;
inline constexpr std::chrono::milliseconds connect_timeout{5'000};
inline constexpr std::chrono::milliseconds handshake_timeout{5'000};
/// What a peer says about itself once it has proved the cluster secret (net/handshake.hpp).
inline constexpr std::size_t card_uri_bytes_max = 512;
inline constexpr std::size_t card_address_bytes_max = 64u << 10; // a UCX worker's is a few hundred bytes
inline constexpr std::size_t card_hello_bytes_max = 64u << 10;
inline constexpr std::size_t secret_bytes_min = 16; // of its text; shorter ones can be guessed
inline constexpr std::size_t secret_bytes_max = 4096;
/// A peer is asked for a sign of life this often when nothing else came from it ...
inline constexpr std::chrono::milliseconds ping_interval{200};
/// ... and lost after so long without one: its progress thread stands still (SIGSTOP, which has to be seen within a
/// second) or the link does.
inline constexpr std::chrono::milliseconds ping_timeout{900};
inline constexpr std::chrono::milliseconds orphaned_memory_patience{2'000}; // after a peer has gone
/// How long a sender outside the progress thread waits for a peer that does not keep up, before its message is lost.
inline constexpr std::chrono::milliseconds send_patience{1'000};
inline constexpr std::size_t pinned_run_messages = 64; // that one actor handles before the wire is looked at again
/// What must not be lost (down messages, refusals) while its peer does not keep up is tried again this often.
inline constexpr std::size_t owed_frames_max = 65'536;
inline constexpr std::chrono::milliseconds owed_retry_delay{10};
inline constexpr std::size_t open_requests_max = 1u << 20; // of one process, to all peers

// Cluster.
inline constexpr std::chrono::milliseconds rpc_timeout{10'000};
inline constexpr std::size_t message_bytes_max = 1u << 30; // one array of one message between actors
/// How long one step waits for an expert_shard before it gives up and is done again: cancel and drain get in between.
inline constexpr std::chrono::milliseconds dispatch_patience{1'000};
/// From how many rows on a step goes through the layers as two halves where experts compute beside it: fewer read
/// the weights twice for nothing.
inline constexpr std::int32_t overlap_rows_min = 32;
/// The same where experts map the rows: so little time passes between two processes that decode steps are faster whole.
inline constexpr std::int32_t mapped_overlap_rows_min = 512;
/// One buffer of rows or outputs that other processes of the host map; larger steps send their rows.
inline constexpr std::size_t device_segment_bytes_max = std::size_t{512} << 20;
inline constexpr std::size_t device_segments_max = 64; // of other processes, that one engine keeps mapped
/// The longest batch of expert work that is computed in the thread that received it: the wire waits meanwhile.
inline constexpr std::chrono::milliseconds inline_batch_max{10};
/// How long a request survives without the roles it needs before it fails.
inline constexpr std::chrono::milliseconds dispatch_timeout{30'000};
inline constexpr std::chrono::milliseconds heartbeat_interval{500};
/// A ready role that is silent, or whose step counter stands still while it has work, is lost after so long. Longer
/// than the longest step: 512 prompt tokens of R1 on a CPU take about 40 s, and no report leaves in the middle.
inline constexpr std::chrono::seconds health_patience{60};
/// How long a role may load its weights: 685 GB at 0.4 GB/s.
inline constexpr std::chrono::seconds start_timeout{1'800};
inline constexpr std::chrono::milliseconds drain_timeout{20'000};
inline constexpr std::chrono::seconds load_log_interval{5};
inline constexpr int restart_intensity = 3;               // restarts of one role ...
inline constexpr std::chrono::seconds restart_period{60}; // ... within this time before giving up
inline constexpr std::chrono::milliseconds restart_delay_min{100};
inline constexpr std::chrono::milliseconds restart_delay_max{30'000};

} // namespace troupe::limits
