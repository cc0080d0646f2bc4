// @ts-nocheck
// The camera as a WebRTC video track: what a page does today that has a model look through its camera.
//
//   camera --RTCPeerConnection: codec, maxBitrate, maxFramerate--> POST /video --> the receiving process

/** Film and send; resolves once the track is under way. */
globalThis.start = async ({ width, height, mime, kbps, fps, query }) => {
  const wanted = { width: { exact: width }, height: { exact: height } };
  const [track] = (await navigator.mediaDevices.getUserMedia({ video: wanted })).getVideoTracks();
  const peer = new RTCPeerConnection();
  const sendEncodings = [{ maxBitrate: kbps * 1000, maxFramerate: fps }];
  const transceiver = peer.addTransceiver(track, { direction: "sendonly", sendEncodings });
  const codecs = RTCRtpSender.getCapabilities("video").codecs.filter((one) => one.mimeType === mime);
  if (codecs.length === 0) throw new Error(`this browser sends no ${mime}`);
  transceiver.setCodecPreferences(codecs);
  await peer.setLocalDescription();
  await until(peer, "icegatheringstatechange", () => peer.iceGatheringState === "complete");
  const answer = await fetch(`/video?${new URLSearchParams(query)}`, { method: "POST", body: peer.localDescription.sdp });
  if (!answer.ok) throw new Error(await answer.text());
  await peer.setRemoteDescription({ type: "answer", sdp: await answer.text() });
  await until(peer, "connectionstatechange", () => peer.connectionState === "connected");
};

function until(target, name, met) {
  return new Promise((resolve) => {
    const look = () => {
      if (!met()) return;
      target.removeEventListener(name, look);
      resolve();
    };
    target.addEventListener(name, look);
    look();
  });
}
