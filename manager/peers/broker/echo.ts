/**
 * Whether what we send to everyone comes back to us. A broker whose exchange somebody deleted, and another manager made
 * again, says nothing of the bindings that went with it: we would be connected, and reached by nobody.
 */

/** Longer than the broker has for its confirm. Not measured. */
const ECHO_TIMEOUT_MS = 10_000;

export class BrokerEcho {
  readonly #onMissing: () => void;
  #timer: NodeJS.Timeout | undefined;

  constructor(onMissing: () => void) {
    this.#onMissing = onMissing;
  }

  /** Something goes to everyone. */
  expect(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#onMissing();
    }, ECHO_TIMEOUT_MS);
  }

  /** It came back, or it did not go, or there is nowhere to come back to. */
  forget(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
