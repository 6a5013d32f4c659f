/**
 * Managers that seal with another key than ours cannot be understood, only noticed. They are shown ours by an `alive` to
 * everyone, which they cannot open either: so both sides know, and `vmmessaged check` finds it out on whichever host it is run.
 */
import { AtMostEvery } from "../../events/at-most-every.ts";

/** Two managers would else answer each other for ever; and whoever has a user at the broker can make us speak. */
const SHOW_EVERY_MS = 1_000;

export class OtherKeys {
  readonly #show: () => void;
  readonly #now: () => number;
  readonly #shown = new AtMostEvery(SHOW_EVERY_MS);

  /**
   * @param show sends something sealed to everyone
   * @param now ms since 1970
   */
  constructor(show: () => void, now: () => number = Date.now) {
    this.#show = show;
    this.#now = now;
  }

  /** Something came that was sealed with another key. */
  heard(): void {
    if (this.#shown.take(this.#now()) !== undefined) this.#show();
  }
}
