/** The least that so many POSTs take: node:http with connections that are kept, each with one request after the other. */
import { once } from "node:events";
import { Agent, type IncomingMessage, request } from "node:http";
import type { PostedEvent } from "./counting-receiver.ts";
import { serveCommands } from "./worker-process.ts";

export interface PostBare {
  port: number;
  connections: number;
  requestsEach: number;
  event: PostedEvent;
}

/** Answers milliseconds. */
serveCommands(async ({ port, connections, requestsEach, event }: PostBare) => {
  const agent = new Agent({ keepAlive: true, maxSockets: connections });
  const startedAt = performance.now();
  const oneByOne = async (path: string): Promise<void> => {
    for (let count = 0; count < requestsEach; count += 1) await post({ agent, port, path, event });
  };
  await Promise.all(Array.from({ length: connections }, (_, index) => oneByOne(`/${index}`)));
  const ms = performance.now() - startedAt;
  agent.destroy();
  return ms;
});

interface Post {
  agent: Agent;
  port: number;
  path: string;
  event: PostedEvent;
}

async function post({ agent, port, path, event: { headers, body } }: Post): Promise<void> {
  const posting = request({ host: "127.0.0.1", port, path, method: "POST", agent, headers });
  posting.end(body);
  const [response] = (await once(posting, "response")) as [IncomingMessage];
  response.resume();
  await once(response, "end");
}
