/** The name of the virtio-serial port on which a guest's agent listens. */
export const CHANNEL_NAME = "org.vmmessage.agent.0";

/** That of QEMU's own guest agent, qemu-ga. */
export const GUEST_AGENT_CHANNEL_NAME = "org.qemu.guest_agent.0";
