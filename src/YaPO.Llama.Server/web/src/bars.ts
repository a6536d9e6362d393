import { make } from "./dom";

export interface Bar {
  name: string;
  value: number;
  title: string;
}

/** One bar per feature: how far it is turned up, or down. */
export function featureBars(bars: Bar[]): HTMLElement {
  const largest = Math.max(...bars.map((b) => Math.abs(b.value)), Number.MIN_VALUE);
  const list = make("ol", "features");
  for (const bar of bars) {
    const meter = make("span", bar.value < 0 ? "meter down" : "meter");
    meter.style.setProperty("--share", String(Math.abs(bar.value) / largest));
    const item = make("li", "", make("span", "name", bar.name), meter, make("span", "value", `${bar.value < 0 ? "−" : "+"}${Math.abs(bar.value).toFixed(2)}`));
    item.title = bar.title;
    list.append(item);
  }
  return list;
}
