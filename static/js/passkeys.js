// Passkeys. allauth's own scripts (300 lines with a library) need its forms and inline calls, which the CSP forbids.
// A form with data-passkey ("create" or "get") asks the browser before it is sent. The question is in data-question;
// a form without one asks its address for it.
"use strict";
(() => {
  const question = async (form) => {
    if (form.dataset.question) return JSON.parse(form.dataset.question);
    const response = await fetch(form.action, { method: "POST", body: new FormData(form) });
    if (!response.ok) throw new Error(response.statusText);
    return response.json();
  };
  const answer = async (form) => {
    const asked = await question(form);
    return form.dataset.passkey === "create"
      ? navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(asked) })
      : navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(asked) });
  };

  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (!form.dataset.passkey) return;
    event.preventDefault();
    const failed = form.querySelector("[data-passkey-failed]");
    const button = form.querySelector("button");
    failed.hidden = button.disabled = true;
    try {
      form.elements.credential.value = JSON.stringify(await answer(form));
      form.submit(); // without another submit event
    } catch {
      failed.hidden = false; // cancelled, too late, or no passkey for this host
      button.disabled = false;
      button.focus();
    }
  });
})();
