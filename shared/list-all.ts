/** All pages of a list, true for one revision: when the cache changes in between, the list is read anew. */
import type { Client } from "./client.ts";
import { RequestError } from "./protocol/errors.ts";
import type { Result } from "./protocol/message.ts";

/** A cache that changes this often while it is listed changes all the time. */
const MAX_ATTEMPTS = 20;

/** Throws RequestError (busy) when the cache never held still. */
export async function listAll(client: Client, prefix = ""): Promise<Omit<Result<"list">, "next">> {
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
    const all = await listOnce(client, prefix);
    if (all) return all;
  }
  throw new RequestError("busy", "the keys change faster than they can be listed");
}

async function listOnce(client: Client, prefix: string): Promise<Omit<Result<"list">, "next"> | undefined> {
  const { next, ...all } = await client.read("list", { prefix });
  for (let after = next; after !== undefined;) {
    const page = await client.read("list", { prefix, after });
    if (page.revision !== all.revision || page.epoch !== all.epoch) return undefined;
    all.entries.push(...page.entries);
    after = page.next;
  }
  return all;
}
