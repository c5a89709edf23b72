<#
.SYNOPSIS
    Installs and starts wskguard from the folder of this script's parent, and checks that it answers.
.DESCRIPTION
    Run from an elevated prompt. The package is test-signed: Windows loads it only with test signing on, and this script
    says so rather than turning it on (it needs Secure Boot off and a restart).
.PARAMETER Trust
    Put the package's test certificate into the machine's Root and TrustedPublisher stores. Only for test machines.
#>
#Requires -Version 5.1
#Requires -RunAsAdministrator
[CmdletBinding()]
param([switch] $Trust)

Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
. "$PSScriptRoot\common.ps1"

Assert-Windows
Assert-TestSigning
$package = Get-PackageFolder
$certificate = Join-Path $package 'wskguard-test.cer'
if ($Trust) {
    foreach ($store in 'Root', 'TrustedPublisher') {
        Import-Certificate -FilePath $certificate -CertStoreLocation "Cert:\LocalMachine\$store" | Out-Null
    }
}
if (Get-Service -Name $ServiceName -ErrorAction SilentlyContinue) {
    throw "$ServiceName is installed. Use upgrade.ps1, or uninstall.ps1 first."
}
Install-Package $package
Start-Guard
Show-Status $package
