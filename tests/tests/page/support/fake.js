// What a page is sent, in place of what its program would send.
window.fakeState = {{state}};
window.EventSource = class {
  constructor() {
    window.fakeSource = this;
    setTimeout(() => this.onmessage({ data: window.fakeState }));
  }
  close() {}
};
const send = window.fetch;
window.fetch = async (path, ...rest) => (path === "api/status"
  ? { ok: true, status: 200, json: async () => JSON.parse(window.fakeState) } : send(path, ...rest));
// Returns when it is shown.
window.showFake = async (state) => {
  window.fakeState = state;
  window.fakeSource?.onmessage({ data: state });
  document.dispatchEvent(new Event("visibilitychange"));
  await new Promise((shown) => setTimeout(shown));
};
