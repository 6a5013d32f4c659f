/** Which applications beat, kept in the run directory: an agent that is restarted within a boot goes on to expect them. */
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import * as z from "zod/mini";
import { MAX_APPLICATIONS } from "../../shared/protocol/limits.ts";
import { requests } from "../../shared/protocol/message.ts";

const heartbeatFile = z.object({
  /** A run directory need not be a tmpfs; what beat before a boot is not expected after it. */
  bootId: z.nullable(z.string()),
  heartbeats: z.array(requests.beat.params).check(z.maxLength(MAX_APPLICATIONS)),
});

export class HeartbeatFile {
  readonly #path: string;
  readonly #bootId: string | null;

  constructor(path: string, bootId: string | null) {
    this.#path = path;
    this.#bootId = bootId;
  }

  /** The periods by name. None when there is no such file of this boot: each application tells again that it beats. */
  read(): ReadonlyMap<string, number> {
    try {
      const { bootId, heartbeats } = heartbeatFile.parse(JSON.parse(readFileSync(this.#path, "utf8")));
      if (bootId === null || bootId !== this.#bootId) return new Map();
      return new Map(heartbeats.map(({ application, everyMs }) => [application, everyMs]));
    } catch {
      return new Map();
    }
  }

  /** Throws the system's error. */
  write(periods: ReadonlyMap<string, number>): void {
    const heartbeats = [...periods].map(([application, everyMs]) => ({ application, everyMs }));
    const temporary = `${this.#path}.new`;
    writeFileSync(temporary, JSON.stringify({ bootId: this.#bootId, heartbeats }), { mode: 0o600 });
    renameSync(temporary, this.#path);
  }
}
