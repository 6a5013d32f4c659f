/** `idle`: it connects when there is something to send. */
export type ConnectionState = { state: "connected" | "idle" } | { state: "disconnected"; reason: string };
