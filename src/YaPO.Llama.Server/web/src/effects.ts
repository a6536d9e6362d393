import { ApiError, loadEffects, type Effect, type Message, type Steering } from "./api";
import { featureBars } from "./bars";
import { make } from "./dom";

const shownFeatures = 8;

/** "What the vectors did here": measured on the server when it is opened for the first time. */
export function effectsDetails(messages: Message[], steering: Steering[]): HTMLElement {
  const details = make("details", "effects", make("summary", "", "What the vectors did here"));
  details.addEventListener("toggle", () => void show(details, messages, steering), { once: true });
  return details;
}

async function show(details: HTMLElement, messages: Message[], steering: Steering[]): Promise<void> {
  const waiting = make("p", "hint", "measuring …");
  details.append(waiting);
  try {
    const effects = await loadEffects(messages, steering);
    waiting.replaceWith(...effects.map(section));
  } catch (error) {
    waiting.replaceWith(make("p", "error", error instanceof ApiError ? error.message : "the server cannot be reached"));
  }
}

function section(effect: Effect): HTMLElement {
  const size = `${(100 * effect.relative_change).toFixed(1)} % of the residual stream after block ${effect.layer}, mean of ${effect.steered_tokens} tokens`;
  const active = effect.features.length > 0 ? `; ${effect.active_features} of its features were active by themselves` : "";
  const bars = effect.features.slice(0, shownFeatures).map((f) => ({
    name: f.label ?? `feature ${f.index}`,
    value: f.mean_change,
    title: `feature ${f.index}: active on ${Math.round(100 * f.firing)} % of the tokens before steering, changed by ${f.mean_change.toFixed(2)} on average`,
  }));
  return make("div", "", make("p", "hint", `${effect.names.join(" + ")}: ${size}${active}.`), ...(bars.length > 0 ? [featureBars(bars)] : []));
}
