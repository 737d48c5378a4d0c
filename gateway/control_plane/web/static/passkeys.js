// Passkeys: a form with data-passkey asks the browser for one ("make" or "use") when it is sent, and
// sends the answer. Without scripts, or in a browser without passkeys, such a form stays hidden.
const bytes = (text) => Uint8Array.from(
  atob(text.replaceAll("-", "+").replaceAll("_", "/")), (one) => one.charCodeAt(0));
const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer)))
  .replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

const known = (list) => (list ?? []).map((one) => ({ ...one, id: bytes(one.id) }));

const answers = {
  make: async (asked) => navigator.credentials.create({ publicKey: {
    ...asked,
    challenge: bytes(asked.challenge),
    user: { ...asked.user, id: bytes(asked.user.id) },
    excludeCredentials: known(asked.excludeCredentials),
  } }),
  use: async (asked) => navigator.credentials.get({ publicKey: {
    ...asked, challenge: bytes(asked.challenge), allowCredentials: known(asked.allowCredentials),
  } }),
};

const written = (credential) => {
  const response = {};
  for (const name of ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"]) {
    if (credential.response[name]) response[name] = text(credential.response[name]);
  }
  const { id, type, authenticatorAttachment } = credential;
  return JSON.stringify({
    id, rawId: text(credential.rawId), type, authenticatorAttachment, response, clientExtensionResults: {},
  });
};

const ask = async (form) => {
  const answer = await fetch(form.dataset.options, {
    method: "POST",
    headers: { "x-csrf-token": form.elements.csrf_token.value, "hx-request": "true" },
    body: new URLSearchParams(new FormData(form)),
  });
  const elsewhere = answer.headers.get("hx-redirect");
  if (elsewhere) {
    location.assign(elsewhere);
    return null;
  }
  const body = await answer.text();
  if (!answer.ok) throw new Error(new DOMParser().parseFromString(body, "text/html").body.textContent.trim());
  return JSON.parse(body);
};

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.dataset.passkey) return;
  event.preventDefault();
  const notice = form.querySelector(".notice");
  notice.hidden = true;
  try {
    const asked = await ask(form);
    if (!asked) return;
    form.elements.factor_answer.value = written(await answers[form.dataset.passkey](asked));
    form.submit();
  } catch (error) {
    const gaveUp = error instanceof DOMException;
    notice.textContent = gaveUp ? "No passkey was used. Try again, or use another way." : error.message;
    notice.hidden = false;
  }
});

if (window.PublicKeyCredential) {
  for (const form of document.querySelectorAll("form[data-passkey]")) form.hidden = false;
}
