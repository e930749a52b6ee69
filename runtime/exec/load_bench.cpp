#include "runtime/exec/load_bench.hpp"

#include "runtime/exec/device/plugin.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <fcntl.h>
#include <filesystem>
#include <thread>
#include <unistd.h>
#include <vector>

namespace troupe::exec {
namespace {

using clock = std::chrono::steady_clock;

double seconds_since(clock::time_point start) { return std::chrono::duration<double>(clock::now() - start).count(); }

std::vector<std::filesystem::path> files_of(const std::string& dir) {
  std::vector<std::filesystem::path> files;
  for (const auto& file : std::filesystem::directory_iterator(dir))
    if (file.path().extension() == ".safetensors") files.push_back(file.path());
  return files;
}

/// Takes them out of the page cache; nobody may have them mapped.
void forget_files(const std::string& dir) {
  for (const auto& file : files_of(dir)) {
    const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
    ::fdatasync(fd); // what is not on the disk yet stays
    ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    ::close(fd);
  }
}

/// Plain read() calls of 1 MiB by `threads` at once; returns how many bytes the files hold.
std::int64_t read_files(const std::string& dir, int threads) {
  constexpr std::size_t piece = std::size_t{1} << 20;
  std::int64_t all = 0;
  for (const auto& file : files_of(dir)) {
    const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
    std::atomic<std::size_t> next{0};
    std::vector<std::jthread> readers;
    for (int t = 0; t < threads; ++t)
      readers.emplace_back([&] {
        std::vector<char> buffer(piece);
        while (::pread(fd, buffer.data(), piece, static_cast<off_t>(piece * next.fetch_add(1))) > 0) {
        }
      });
    readers.clear(); // joins them
    ::close(fd);
    all += static_cast<std::int64_t>(std::filesystem::file_size(file));
  }
  return all;
}

/// Seconds until the whole model is in device memory; freeing it is not counted.
result<double> load(weight_source& weights, const model::model_config& config, device_plugin& device) {
  const auto start = clock::now();
  std::unique_ptr<expert_client> experts;
  if (config.expert_count > 0) {
    TROUPE_ASSIGN(experts, make_device_local_experts(device, weights, config));
  }
  TROUPE_ASSIGN(const auto engine, make_device_engine(device, weights, config, {.page_count = 1}));
  return seconds_since(start);
}

} // namespace

result<load_figures> bench_load(const load_bench_options& options) {
  TROUPE_ASSIGN(const auto config, model::load_config(options.model));
  TROUPE_ASSIGN(const auto choice, parse_device(options.device));
  if (choice.kind == "cpu") return error{errc::bad_input, "device cpu computes where the files are; name a GPU"};
  TROUPE_ASSIGN(const auto device, open_device(choice.kind, choice.index));
  load_figures f{.device = device->name()};
  for (int round = 0; round < options.rounds; ++round) {
    if (options.cold) forget_files(options.model);
    const auto start = clock::now();
    f.bytes = read_files(options.model, options.threads);
    const double read_s = seconds_since(start);
    if (options.cold) forget_files(options.model);
    TROUPE_ASSIGN(auto tensors, model::checkpoint::open(options.model)); // mapped anew, as a process finds it
    checkpoint_weights weights(std::move(tensors), config);
    TROUPE_ASSIGN(const double load_s, load(weights, config, *device));
    f.read_s = round == 0 ? read_s : std::min(f.read_s, read_s);
    f.load_s = round == 0 ? load_s : std::min(f.load_s, load_s);
  }
  return f;
}

} // namespace troupe::exec
