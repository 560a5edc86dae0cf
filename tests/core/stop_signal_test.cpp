#include "core/stop_signal.h"

#include <gtest/gtest.h>

#include "tests/support/child_process.h"

namespace pixelbert {
namespace {

int code_of(bool signalled) {
  return signalled ? 75 : 0;
}

TEST(StopSignal, OneThatCameBeforeThereWasAHandlerIsNotLost) {
  for (const int which : {SIGTERM, SIGUSR1, SIGINT}) {
    ChildProcess child([&] {
      sigset_t all;
      sigfillset(&all);
      sigprocmask(SIG_BLOCK, &all, nullptr);
      raise(which);
      catch_stop_signals();
      unblock_stop_signals();
      return code_of(stop_signalled());
    });
    EXPECT_EQ(child.wait(), 75) << which;
  }
}

TEST(StopSignal, OnlyASecondCtrlCEndsTheProcess) {
  ChildProcess terms([] {
    catch_stop_signals();
    for (int i = 0; i < 3; ++i) raise(SIGTERM);
    raise(SIGINT);
    return code_of(stop_signalled());
  });
  EXPECT_EQ(terms.wait(), 75);
  ChildProcess interrupts([] {
    catch_stop_signals();
    raise(SIGINT);
    raise(SIGINT);
    return 0;
  });
  EXPECT_EQ(interrupts.wait(), 128 + SIGINT);
}

TEST(StopSignal, CtrlCIsNotForAProcessInTheBackgroundOfAScript) {
  ChildProcess child([] {
    signal(SIGINT, SIG_IGN);
    catch_stop_signals();
    raise(SIGINT);
    raise(SIGINT);
    return code_of(stop_signalled());
  });
  EXPECT_EQ(child.wait(), 0);
}

}  // namespace
}  // namespace pixelbert
