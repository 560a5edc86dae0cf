// main() of the tests that run under mpirun. PIXELBERT_TEST_RANKS is the number of ranks: a test fails if it
// runs alone because mpirun and MPI did not find each other.
#include "tests/support/mpi_test.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>
#include <string>

namespace pixelbert::test {
namespace {

const comm::MpiSession* the_session = nullptr;

// A rank that fails would leave the others waiting in a collective, so it ends them all.
struct AbortOnFailure final : ::testing::EmptyTestEventListener {
  void OnTestEnd(const ::testing::TestInfo& test) override {
    if (!test.result()->Failed()) return;
    std::cerr << "rank " << session().rank() << " of " << session().world_size() << " failed in "
              << test.test_suite_name() << "." << test.name() << std::endl;
    session().abort(1);
  }
};

void check_world_size() {
  const char* const asked = std::getenv("PIXELBERT_TEST_RANKS");
  const std::string found = std::to_string(session().world_size());
  if (asked && asked == found) return;
  std::cerr << "expected " << (asked ? asked : "PIXELBERT_TEST_RANKS to give the number of") << " ranks, found "
            << found << std::endl;
  session().abort(1);
}

}  // namespace

const comm::MpiSession& session() {
  return *the_session;
}

}  // namespace pixelbert::test

int main(int argc, char** argv) {
  const pixelbert::comm::MpiSession session(&argc, &argv);
  pixelbert::test::the_session = &session;
  ::testing::InitGoogleTest(&argc, argv);
  pixelbert::test::check_world_size();
  ::testing::UnitTest::GetInstance()->listeners().Append(new pixelbert::test::AbortOnFailure);
  const int failed = RUN_ALL_TESTS();
  if (::testing::UnitTest::GetInstance()->test_to_run_count() == 0) {
    std::cerr << "no test was run" << std::endl;
    return 1;
  }
  return failed;
}
