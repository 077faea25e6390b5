import Button from "@cloudscape-design/components/button";
import Container from "@cloudscape-design/components/container";
import Form from "@cloudscape-design/components/form";
import FormField from "@cloudscape-design/components/form-field";
import Header from "@cloudscape-design/components/header";
import Input from "@cloudscape-design/components/input";
import Select from "@cloudscape-design/components/select";
import SpaceBetween from "@cloudscape-design/components/space-between";
import { useState, type FormEvent } from "react";
import { useTranslation } from "react-i18next";
import { LANGUAGES, setLanguage, type Language } from "../app/i18n";
import { useSession } from "../app/session";
import { useTitle } from "../parts/page";
import { ProblemAlert } from "../parts/problem";

export function LoginForm() {
  const { t } = useTranslation("shell");
  const { login, user } = useSession();
  const [username, setUsername] = useState(user?.username ?? "");
  const [password, setPassword] = useState("");
  const [isBusy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      await login(username, password);
    } catch (problem) {
      setError(problem);
      setBusy(false);
    }
  };
  return (
    <form onSubmit={(event) => void submit(event)}>
      <Form
        actions={
          <Button variant="primary" formAction="submit" loading={isBusy}>
            {t("login.submit")}
          </Button>
        }
      >
        <SpaceBetween size="m">
          <ProblemAlert error={error} />
          <FormField label={t("login.username")}>
            <Input
              value={username}
              autoFocus={!user}
              name="username"
              autoComplete="username"
              onChange={({ detail }) => setUsername(detail.value)}
            />
          </FormField>
          <FormField label={t("login.password")}>
            <Input
              type="password"
              value={password}
              autoFocus={Boolean(user)}
              name="password"
              autoComplete="current-password"
              onChange={({ detail }) => setPassword(detail.value)}
            />
          </FormField>
        </SpaceBetween>
      </Form>
    </form>
  );
}

export function LoginPage() {
  const { t, i18n } = useTranslation("shell");
  useTitle(t("login.title"));
  const options = Object.entries(LANGUAGES).map(([value, label]) => ({ value, label }));
  return (
    <main className="nano-login">
      <div>
        <div className="nano-brand">
          <img src="/favicon.svg" alt="" />
          <span>{t("product")}</span>
        </div>
        <Container header={<Header variant="h1">{t("login.title")}</Header>} footer={t("login.hint")}>
          <SpaceBetween size="m">
            <LoginForm />
            <Select
              ariaLabel={t("language")}
              selectedOption={options.find((option) => option.value === i18n.language) ?? null}
              options={options}
              onChange={({ detail }) => void setLanguage(detail.selectedOption.value as Language)}
            />
          </SpaceBetween>
        </Container>
      </div>
    </main>
  );
}
