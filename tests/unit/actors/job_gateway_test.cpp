// The job gateway as an actor, against a scripted router.
#include "actors/gateways/job_gateway.hpp"
#include "actors/gateways/rpc_error.hpp"
#include "actors/system_config.hpp"
#include "tests/support/scripted_generation.hpp"
#include "tests/support/tiny_text.hpp"

#include <boost/json/parse.hpp>
#include <boost/test/unit_test.hpp>
#include <caf/scoped_actor.hpp>

using namespace troupe;

namespace {

struct rig {
  ~rig() {
    self->send_exit(jobs, caf::exit_reason::user_shutdown);
    self->wait_for(jobs);
  }

  template <class Answer, class Message>
  result<Answer> ask(Message message) {
    result<Answer> out = error{errc::bug, "no answer"};
    self->request(jobs, limits::rpc_timeout, std::move(message))
        .receive([&](Answer& answer) { out = std::move(answer); },
                 [&](const caf::error& e) { out = from_rpc_error(e); });
    return out;
  }

  job_progress wait_until(std::uint64_t job, std::uint64_t done) {
    for (;;)
      if (const auto p = ask<job_progress>(get_job{job}).value(); p.done >= done) return p;
  }

  void wait_for_requests(std::size_t count) {
    while (generation.requests().size() < count) std::this_thread::yield();
  }

  test::scripted_generation generation;
  text_side text = test::tiny_text();
  completion_service completions{generation, text};
  system_config config{reach::this_process, 2};
  caf::actor_system system{config};
  job_gateway_actor jobs = spawn_job_gateway(system, completions);
  caf::scoped_actor self{system};
};

std::string line(int i, std::string_view body = R"({"prompt":"x"})") {
  return R"({"custom_id":"q)" + std::to_string(i) + R"(","method":"POST","url":"/v1/completions","body":)" +
         std::string(body) + "}";
}

} // namespace

BOOST_AUTO_TEST_SUITE(job_gateway)

BOOST_AUTO_TEST_CASE(every_line_gets_its_answer) {
  rig t;
  t.generation.script = test::bytes_as_tokens("yes");
  std::vector<std::string> lines;
  for (int i = 0; i < 100; ++i) lines.push_back(line(i));
  const auto job = t.ask<job_progress>(submit_job{lines}).value().job;

  BOOST_TEST(t.wait_until(job, 100).failed == 0);
  const auto results = t.ask<job_results>(fetch_results{job, 0}).value();
  std::set<std::string> ids;
  for (const auto& text : results.lines) {
    const auto answer = boost::json::parse(text);
    ids.insert(std::string(answer.at("custom_id").as_string()));
    BOOST_TEST(answer.at("response").at("body").at("choices").at(0).at("text") == "yes");
  }
  BOOST_TEST(ids.size() == 100);
}

BOOST_AUTO_TEST_CASE(a_bad_body_fails_its_own_line_only) {
  rig t;
  t.generation.script = test::bytes_as_tokens("a");
  const auto job = t.ask<job_progress>(submit_job{{line(0, R"({"prompt":"x","n":99})"), line(1)}}).value().job;

  BOOST_TEST(t.wait_until(job, 2).failed == 1);
  const auto results = t.ask<job_results>(fetch_results{job, 0}).value();
  int refused = 0;
  for (const auto& text : results.lines) {
    const auto answer = boost::json::parse(text);
    if (answer.at("custom_id") != "q0") continue;
    ++refused;
    BOOST_TEST(answer.at("response").at("status_code") == 400);
    BOOST_TEST(answer.at("response").at("body").at("error").at("param") == "n");
  }
  BOOST_TEST(refused == 1);
}

BOOST_AUTO_TEST_CASE(a_request_the_cluster_gives_up_is_a_failed_line) {
  rig t;
  const auto job = t.ask<job_progress>(submit_job{{line(0)}}).value().job;
  t.wait_for_requests(1);
  token_event end;
  end.finish = finish_reason::failed;
  t.generation.emit(0, end);
  BOOST_TEST(t.wait_until(job, 1).failed == 1);
}

BOOST_AUTO_TEST_CASE(a_cancelled_job_frees_its_requests) {
  rig t;
  const auto job = t.ask<job_progress>(submit_job{{line(0), line(1)}}).value().job;
  t.wait_for_requests(2);
  BOOST_TEST(t.ask<job_progress>(cancel_job{job}).value().cancelled);
  while (t.generation.cancelled_count() < 2) std::this_thread::yield();
  BOOST_TEST(t.generation.cancelled_count() == 2);
}

BOOST_AUTO_TEST_CASE(ending_the_gateway_frees_what_is_under_way) {
  test::scripted_generation* generation = nullptr;
  {
    rig t;
    generation = &t.generation;
    t.ask<job_progress>(submit_job{{line(0)}}).value();
    t.wait_for_requests(1);
    t.self->send_exit(t.jobs, caf::exit_reason::user_shutdown);
    t.self->wait_for(t.jobs);
    while (generation->cancelled_count() < 1) std::this_thread::yield();
    BOOST_TEST(generation->cancelled_count() == 1);
  }
}

BOOST_AUTO_TEST_CASE(errors_keep_their_kind_and_words) {
  rig t;
  const auto unknown = t.ask<job_progress>(get_job{1}).error();
  BOOST_TEST((unknown.code == errc::not_found));
  BOOST_TEST(unknown.message == "job 1 is unknown: jobs end with the server's process");
  BOOST_TEST((t.ask<job_progress>(submit_job{{"{"}}).error().code == errc::bad_input));
}

BOOST_AUTO_TEST_SUITE_END()
