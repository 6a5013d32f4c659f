/** Which applications beat, as it lies on disk. It says nothing of when they did: it is written only when it changes. */
import * as z from "zod/mini";
import { MAX_APPLICATIONS } from "../../shared/protocol/limits.ts";
import { requests } from "../../shared/protocol/message.ts";
import type { Heartbeats, HeartbeatTerms } from "./applications.ts";

const heartbeatFile = z.object({
  format: z.literal(1),
  heartbeats: z
    .array(z.extend(requests.beat.params, { owner: z.nullable(z.string()) }))
    .check(z.maxLength(MAX_APPLICATIONS)),
});

export function formatHeartbeatFile(heartbeats: Heartbeats): string {
  const file: z.infer<typeof heartbeatFile> = {
    format: 1,
    heartbeats: [...heartbeats].map(([application, terms]) => ({ application, ...terms })),
  };
  return JSON.stringify(file);
}

/** Throws when the text is no file of heartbeats. */
export function parseHeartbeatFile(text: string): Heartbeats {
  const { heartbeats } = heartbeatFile.parse(JSON.parse(text));
  return new Map(heartbeats.map(({ application, ...terms }): [string, HeartbeatTerms] => [application, terms]));
}
