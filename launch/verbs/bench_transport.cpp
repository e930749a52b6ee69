// Each transport has one pair of processes: this one measures, a child of it (`--answer`) answers. They talk over the
// child's stdin and stdout: first the secret and where each one is, then a line "raw" a round.
#include "launch/verbs/bench_transport.hpp"

#include "launch/verbs/verbs.hpp"
#include "runtime/core/limits.hpp"
#include "runtime/net/bench/figures.hpp"
#include "runtime/net/bench/lanes.hpp"

#include <CLI/CLI.hpp>
#include <boost/json.hpp>
#include <boost/process.hpp>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

namespace troupe::launch {

namespace {

namespace process = boost::process;
using net::bench::lane_figures;
using net::bench::lanes;

struct transport_options {
  std::vector<std::string> transports{"shm", "tcp"};
  int rounds = 5;
  int milliseconds = 200; ///< of each measurement
  int spin_rounds = 1000; ///< looks at the wire; raw UCX never sleeps, ours after a hiccup's length without work
  bool raw_blind = false;
  bool json = false;
  std::string answer; ///< the transport this process answers on; empty: it measures
};

/// Medians over the rounds.
struct transport_row {
  std::string transport;
  lane_figures lanes;
  std::optional<double> basp_us; ///< none when basp_bench is not built
};

std::string own_path() { return std::filesystem::read_symlink("/proc/self/exe").string(); }

std::string fresh_secret() {
  std::random_device random;
  std::string out;
  while (out.size() < 2 * limits::secret_bytes_min) out += std::to_string(random());
  return out;
}

/// The answering end of the pair.
result<void> answer(const transport_options& options) {
  std::string line;
  std::getline(std::cin, line);
  TROUPE_ASSIGN(const auto end, lanes::open({options.answer, line, options.spin_rounds, options.raw_blind}));
  std::cout << end->contact() << std::endl;
  std::getline(std::cin, line);
  TROUPE_TRY(end->connect(line));
  while (std::getline(std::cin, line)) TROUPE_TRY(end->serve_raw());
  return {};
}

/// The measuring end, with its child.
class process_pair {
 public:
  static result<std::unique_ptr<process_pair>> open(const lanes::options& how) {
    auto out = std::make_unique<process_pair>(how);
    out->tell(how.secret);
    TROUPE_ASSIGN(out->lanes_, lanes::open(how));
    std::string contact;
    if (!std::getline(out->from_child_, contact))
      return error{errc::disconnected, "the answering process of " + how.transport + " has ended"};
    out->tell(out->lanes_->contact());
    TROUPE_TRY(out->lanes_->connect(contact));
    return out;
  }

  explicit process_pair(const lanes::options& how)
      : child_(own_path(), arguments(how), process::std_in<to_child_, process::std_out> from_child_) {}

  ~process_pair() {
    to_child_.pipe().close();
    child_.wait();
  }

  lane_figures measure(duration how_long) {
    lane_figures out;
    tell("raw");
    lanes_->measure_raw(how_long, out);
    lanes_->measure_ours(how_long, out);
    return out;
  }

 private:
  static std::vector<std::string> arguments(const lanes::options& how) {
    std::vector<std::string> out{"bench",       "transport",     "--answer",
                                 how.transport, "--spin-rounds", std::to_string(how.spin_rounds)};
    if (how.raw_blind) out.emplace_back("--raw-blind");
    return out;
  }

  void tell(const std::string& line) { to_child_ << line << std::endl; }

  process::opstream to_child_;
  process::ipstream from_child_;
  process::child child_;
  std::unique_ptr<lanes> lanes_;
};

/// One way over BASP, measured by a program of its own beside this one; none when it was not built.
std::optional<double> measure_basp(int milliseconds) {
  const auto program = std::filesystem::path(own_path()).replace_filename("basp_bench");
  if (!std::filesystem::exists(program)) return std::nullopt;
  process::ipstream output;
  process::child child(program.string(), std::to_string(milliseconds), process::std_out > output);
  std::string line;
  std::getline(output, line);
  child.wait();
  boost::json::error_code failed;
  const auto figures = boost::json::parse(line, failed);
  if (failed) return std::nullopt;
  return figures.at("basp_us").to_number<double>();
}

/// The figure of every round that `of` picks, as their median.
template <class Pick>
double median_of(const std::vector<lane_figures>& rounds, Pick of) {
  std::vector<double> values;
  for (const auto& round : rounds) values.push_back(of(round));
  return net::bench::median(std::move(values));
}

lane_figures medians(const std::vector<lane_figures>& rounds) {
  lane_figures out;
  for (const auto field : {&lane_figures::raw_us, &lane_figures::hot_us, &lane_figures::actor_us,
                           &lane_figures::raw_mbs, &lane_figures::actor_mbs, &lane_figures::raw_rate,
                           &lane_figures::actor_rate, &lane_figures::request_p50_us, &lane_figures::request_p99_us})
    out.*field = median_of(rounds, [field](const lane_figures& round) { return round.*field; });
  return out;
}

/// One after the other within a round: the machine's slow phases hit all of them.
result<std::vector<transport_row>> measure(const transport_options& options) {
  const std::chrono::milliseconds how_long(options.milliseconds);
  std::vector<transport_row> rows;
  for (const auto& transport : options.transports) {
    TROUPE_ASSIGN(const auto pair,
                  process_pair::open({transport, fresh_secret(), options.spin_rounds, options.raw_blind}));
    pair->measure(how_long / 4); // warms up
    std::vector<lane_figures> rounds;
    std::vector<double> basp;
    for (int i = 0; i < options.rounds; ++i) {
      rounds.push_back(pair->measure(how_long));
      if (const auto us = measure_basp(options.milliseconds)) basp.push_back(*us);
    }
    rows.push_back({transport, medians(rounds), std::nullopt});
    if (!basp.empty()) rows.back().basp_us = net::bench::median(std::move(basp));
  }
  return rows;
}

boost::json::object to_json(const transport_row& row) {
  const auto& f = row.lanes;
  return {{"transport", row.transport},
          {"raw_us", f.raw_us},
          {"hot_us", f.hot_us},
          {"actor_us", f.actor_us},
          {"basp_us", row.basp_us ? boost::json::value(*row.basp_us) : boost::json::value()},
          {"raw_mbs", f.raw_mbs},
          {"actor_mbs", f.actor_mbs},
          {"raw_rate", f.raw_rate},
          {"actor_rate", f.actor_rate},
          {"request_p99_us", f.request_p99_us}};
}

/// "name   value   (target)": a target of zero is none.
void print_ratio(const char* what, double ours, double other, const char* relation, double target) {
  std::printf("  %-42s %8.2f", what, other > 0 ? ours / other : 0);
  if (target > 0) std::printf("   target %s %g", relation, target);
  std::puts("");
}

void print(const transport_row& row) {
  const auto& f = row.lanes;
  const bool shm = row.transport == "shm";
  std::printf("%s\n", row.transport.c_str());
  std::printf("  64 B one way, us        raw %8.2f   hot %8.2f   actor %8.2f   BASP ", f.raw_us, f.hot_us, f.actor_us);
  row.basp_us ? std::printf("%8.2f\n", *row.basp_us) : std::printf("not built\n");
  std::printf("  1 MiB segments, MB/s    raw %8.0f   actor %6.0f\n", f.raw_mbs, f.actor_mbs);
  std::printf("  64 B messages a second  raw %8.0f   actor %6.0f\n", f.raw_rate, f.actor_rate);
  std::printf("  timed request, us       p50 %8.2f   p99 %8.2f%s\n", f.request_p50_us, f.request_p99_us,
              shm ? "   target <= 5" : "");
  print_ratio("actor / raw, 64 B one way", f.actor_us, f.raw_us, "<=", shm ? 2 : 1.2);
  print_ratio("hot lane / raw, 64 B one way", f.hot_us, f.raw_us, "<=", shm ? 1.2 : 1.05);
  if (row.basp_us) print_ratio("BASP / actor, 64 B one way", *row.basp_us, f.actor_us, ">=", 20);
  print_ratio("actor / raw, 1 MiB segments", f.actor_mbs, f.raw_mbs, ">=", 0.8);
  print_ratio("actor / raw, 64 B messages a second", f.actor_rate, f.raw_rate, ">=", shm ? 0 : 8);
}

result<void> bench_transport(const transport_options& options) {
  if (!options.answer.empty()) return answer(options);
  TROUPE_ASSIGN(const auto rows, measure(options));
  boost::json::array results;
  for (const auto& row : rows) options.json ? void(results.push_back(to_json(row))) : print(row);
  if (options.json) std::puts(boost::json::serialize(boost::json::object{{"results", results}}).c_str());
  return {};
}

} // namespace

void add_bench_transport(CLI::App& bench) {
  auto given = std::make_shared<transport_options>();
  auto* verb = bench.add_subcommand("transport", "a message between two processes, beside raw UCX and BASP");
  verb->add_option("--transport", given->transports, "shm, tcp or both")
      ->delimiter(',')
      ->check(CLI::IsMember({"shm", "tcp"}))
      ->capture_default_str();
  verb->add_option("--rounds", given->rounds, "measured; the median counts")
      ->capture_default_str()
      ->check(CLI::Range(1, 100));
  verb->add_option("--milliseconds", given->milliseconds, "of each measurement of a round")
      ->capture_default_str()
      ->check(CLI::Range(10, 10'000));
  verb->add_option("--spin-rounds", given->spin_rounds, "without work before our progress threads sleep; -1: never")
      ->capture_default_str();
  verb->add_flag("--raw-blind", given->raw_blind,
                 "raw UCX over tcp without the failure detection that ours has: large messages are faster then");
  verb->add_option("--answer", given->answer, "the other end")->group("");
  verb->add_flag("--json", given->json, "one line of JSON");
  verb->callback([given] { finish(bench_transport(*given)); });
}

} // namespace troupe::launch
