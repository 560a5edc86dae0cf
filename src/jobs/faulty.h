// Parts of a training that fail on request (core/faults.h); used only if PIXELBERT_FAULTS asks for one.
#pragma once

#include <memory>

#include "comm/communicator.h"
#include "objectives/objective.h"

namespace pixelbert::jobs {

// Adds nan-loss and nan-gradient: the loss, or only its gradient, is NaN in that step of an epoch.
std::shared_ptr<objectives::Objective> with_faults(std::shared_ptr<objectives::Objective> objective, int rank);

// Adds skip-collective: this rank leaves out the sum of the counts after that many steps. `control` must outlive it.
std::unique_ptr<comm::Communicator> with_faults(comm::Communicator& control);

}  // namespace pixelbert::jobs
