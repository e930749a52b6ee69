#include "actors/gateways/job_table.hpp"
#include "actors/gateways/openai/batch.hpp"

#include <boost/json/parse.hpp>
#include <boost/test/unit_test.hpp>

using namespace troupe;

namespace {

constexpr time_point start{};

std::vector<std::string> lines(int count) {
  std::vector<std::string> out;
  for (int i = 0; i < count; ++i)
    out.push_back(R"({"custom_id":"q)" + std::to_string(i) +
                  R"(","method":"POST","url":"/v1/completions","body":{"prompt":"x","stream":true}})");
  return out;
}

std::vector<job_table::line_ref> take_all(job_table& jobs) {
  std::vector<job_table::line_ref> out;
  while (auto line = jobs.next()) out.push_back(*std::move(line));
  return out;
}

} // namespace

BOOST_AUTO_TEST_SUITE(job_table)

BOOST_AUTO_TEST_CASE(lines_start_a_few_at_a_time_oldest_job_first) {
  troupe::job_table jobs(10);
  const auto in_flight_max = static_cast<int>(limits::job_lines_in_flight);
  BOOST_TEST(jobs.add(lines(in_flight_max - 1), start).value().job == 10);
  BOOST_TEST(jobs.add(lines(2), start).value().job == 11);
  const auto first = take_all(jobs);
  BOOST_TEST(first.size() == limits::job_lines_in_flight);
  BOOST_TEST(first.back().job == 11);

  jobs.finish(first.front().job, true, "answer", start);
  const auto next = take_all(jobs);
  BOOST_TEST(next.size() == 1);
  BOOST_TEST(next.front().line == 1);
}

BOOST_AUTO_TEST_CASE(progress_and_results_follow_the_answers) {
  troupe::job_table jobs(1);
  const auto job = jobs.add(lines(3), start).value().job;
  take_all(jobs);
  const auto later = start + std::chrono::seconds(2);
  jobs.finish(job, true, "a", later);
  jobs.finish(job, false, "b", later);

  const auto now = jobs.results({job, 1}, start + std::chrono::seconds(3)).value();
  BOOST_TEST((now.lines == std::vector<std::string>{"b"}));
  BOOST_TEST(now.progress.lines == 3);
  BOOST_TEST(now.progress.done == 2);
  BOOST_TEST(now.progress.failed == 1);
  BOOST_TEST(now.progress.age_ms == 3000);
  jobs.finish(job, true, "c", later);
  BOOST_TEST(jobs.progress(job, start + std::chrono::hours(1)).value().age_ms == 2000);
  BOOST_TEST(jobs.results({job, 99}, later).value().lines.empty());
}

BOOST_AUTO_TEST_CASE(a_line_that_found_no_room_comes_again_first) {
  troupe::job_table jobs(1);
  jobs.add(lines(2), start).value();
  auto taken = take_all(jobs);
  jobs.put_back(std::move(taken[0]));
  BOOST_TEST(jobs.next()->line == 0);
}

BOOST_AUTO_TEST_CASE(a_cancelled_job_starts_no_line_and_ends_with_those_under_way) {
  troupe::job_table jobs(1);
  const auto many = static_cast<int>(limits::job_lines_in_flight) + 1;
  const auto job = jobs.add(lines(many), start).value().job;
  auto taken = take_all(jobs);
  BOOST_TEST(jobs.cancel(job, start).value().cancelled);
  jobs.put_back(std::move(taken.back()));
  taken.pop_back();
  for (std::size_t i = 0; i < taken.size(); ++i) jobs.finish(job, true, "late", start);
  BOOST_TEST(!jobs.next().has_value());
  BOOST_TEST(jobs.progress(job, start).value().done == taken.size());
}

BOOST_AUTO_TEST_CASE(refuses_a_job_by_its_first_bad_line) {
  troupe::job_table jobs(1);
  auto bad = lines(3);
  bad[1] = R"({"custom_id":"x","method":"GET","url":"/v1/completions","body":{}})";
  BOOST_TEST(jobs.add(bad, start).error().message == "line 2: method: must be POST");
  bad[1] = R"({"custom_id":"x","method":"POST","url":"/v1/embeddings","body":{}})";
  BOOST_TEST(jobs.add(bad, start).error().message.starts_with("line 2: url: "));
  BOOST_TEST((jobs.add({}, start).error().code == errc::bad_input));
  BOOST_TEST((jobs.progress(5, start).error().code == errc::not_found));
  BOOST_TEST((jobs.results({5, 0}, start).error().code == errc::not_found));
  BOOST_TEST((jobs.cancel(5, start).error().code == errc::not_found));
}

BOOST_AUTO_TEST_CASE(finished_jobs_make_room_and_unfinished_ones_do_not) {
  troupe::job_table jobs(1);
  for (std::size_t i = 0; i < limits::jobs_max; ++i) jobs.add(lines(1), start).value();
  BOOST_TEST((jobs.add(lines(1), start).error().code == errc::overloaded));
  const auto line = jobs.next().value();
  jobs.finish(line.job, true, "a", start);
  BOOST_TEST(jobs.add(lines(1), start).has_value());
  BOOST_TEST(!jobs.progress(line.job, start).has_value());
}

BOOST_AUTO_TEST_CASE(a_batch_line_never_streams_and_its_answer_has_openais_shape) {
  const auto line = openai::parse_batch_line(lines(1).front()).value();
  BOOST_TEST(!line.body.contains("stream"));
  const auto answer = boost::json::parse(openai::batch_answer("q0", "r1", 200, R"({"choices":[]})"));
  BOOST_TEST(answer.at("custom_id") == "q0");
  BOOST_TEST(answer.at("response").at("status_code") == 200);
  BOOST_TEST(answer.at("response").at("body").at("choices").as_array().empty());
  BOOST_TEST(answer.at("error").is_null());
}

BOOST_AUTO_TEST_SUITE_END()
