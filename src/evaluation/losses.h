// Losses and accuracies of an objective over a data set: the evaluation of pre-training.
#pragma once

#include "evaluation/pass.h"
#include "model/pixel_bert.h"
#include "objectives/objective.h"

namespace pixelbert::evaluation {

// Collective. Returns "mlm_loss", "mlm_accuracy", "itm_loss", ...; the same on every rank and for any number of ranks.
Metrics mean_losses(objectives::Objective& objective, model::PixelBert& model, const Pass& pass);

}  // namespace pixelbert::evaluation
