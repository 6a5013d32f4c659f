/**
 * Masakari's own introspective monitor, as far as it decides when a guest is told of (masakarimonitors/introspectiveinstancemonitor):
 * one guest-ping after the other on QEMU's guest agent, with its default settings.
 */
import { pause } from "../../../shared/abort.ts";
import { LineLink } from "../request-link.ts";

const INTERVAL_MS = 10_000;
const TIMEOUT_MS = 2_000;
const THRESHOLD = 3;

export class OriginalMonitor {
  readonly #link: LineLink;
  readonly #stopping = new AbortController();
  readonly #running: Promise<void>;
  #failed = 0;
  #onReport: (at: number) => void = () => undefined;

  private constructor(link: LineLink) {
    this.#link = link;
    this.#running = this.#run();
  }

  static async watch(guestAgentPath: string): Promise<OriginalMonitor> {
    return new OriginalMonitor(await LineLink.open(guestAgentPath));
  }

  /** Milliseconds since 1970. */
  async reported(): Promise<number> {
    return new Promise((resolve) => {
      this.#onReport = resolve;
    });
  }

  async close(): Promise<void> {
    this.#stopping.abort();
    await this.#link.close();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      if (await this.#answers()) this.#failed = 0;
      else this.#missed();
      await pause(INTERVAL_MS, signal);
    }
  }

  /** The threshold is compared before this failure is counted. */
  #missed(): void {
    if (this.#failed > THRESHOLD) this.#onReport(Date.now());
    this.#failed += 1;
  }

  async #answers(): Promise<boolean> {
    const late = new AbortController();
    try {
      const answered = this.#link.roundTripMs({ execute: "guest-ping" }).then(
        () => true,
        () => false,
      );
      return await Promise.race([answered, pause(TIMEOUT_MS, late.signal).then(() => false)]);
    } finally {
      late.abort();
    }
  }
}
